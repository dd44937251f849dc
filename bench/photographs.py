"""Score a colorizer on photographs that its training has not seen, once, and draw a contact sheet of them.

python bench/photographs.py MODEL TRAIN HELDOUT [--size 64] [--sheet FILE.jpg] [--n 100] [--json FILE] [--threads 2]

MODEL is what Colorizer.load takes, TRAIN the folder it was trained on (the mean color row is the mean of 2,000 of its photographs), HELDOUT the folder
to score. Photographs of a mean chroma below 1 are left out of both. Beside each score stand gray, the training pictures'
mean color and the picture's own mean color, and beside each difference to gray its 95 % interval over pictures.
The sheet shows a fixed random sample of --n photographs, from the best (in decibels above gray) to the worst, each as it
was colored and below it as it is."""
import argparse,json,warnings
from pathlib import Path

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('model'); p.add_argument('train'); p.add_argument('heldout'); p.add_argument('--size', type=int, default=64)
    p.add_argument('--sheet'); p.add_argument('--n', type=int, default=100); p.add_argument('--json'); p.add_argument('--threads', type=int, default=2)
    args = p.parse_args()
    warnings.simplefilter('ignore')
    import torch, numpy as np
    from colorfast.inference import Colorizer
    from colorfast.metrics import color_scores, mean_ab, scores_table
    torch.set_num_threads(args.threads)
    mean = mean_ab(loader(args.train, args.size, 2000), n=2000).cpu()
    dl = loader(args.heldout, args.size)
    predict = Colorizer.load(args.model).predict
    scores = color_scores(([o.as_subclass(torch.Tensor).cpu() for o in b] for b in dl), mean, lambda l: predict(l).cpu())
    rows = {k:o.row() for k,o in scores.items()}
    res = rows.pop('prediction') | rows
    ours,gray = scores['prediction'].values,scores['grey'].values
    res['over_gray'] = {k:interval(ours[k]-gray[k]) for k in ('psnr','ssim','delta_e')}
    c = res['colorfulness']
    res['color_share'] = c['prediction']/c['truth']
    res['share_ahead_of_gray'] = float((ours['psnr']>gray['psnr']).mean())
    print(f"{scores_table(res).to_string()}\n\n{res['n']} photographs; over gray, with 95 % intervals over photographs:")
    for k,o in res['over_gray'].items(): print(f"  {k:8} {o['mean']:+.4f} ({o['ci95'][0]:+.4f} to {o['ci95'][1]:+.4f})")
    print(f"  colorfulness {100*res['color_share']:.1f} % of the truth's; better than gray (PSNR) on {100*res['share_ahead_of_gray']:.1f} % of them")
    if args.json: Path(args.json).write_text(json.dumps(res, indent=1))
    if args.sheet: sheet(dl, predict, ours['psnr']-gray['psnr'], args.n, args.sheet)

def loader(folder, size, n=None):
    "A folder's photographs with color (but for 8, which loaders want to train), or `n` of them at random, by name"
    from colorfast.data import ColorizeDataLoaders
    from colorfast.sources import Source, read_source
    from colorfast.study import sample_of
    files = sorted(str(f) for fs in read_source(folder, 'pictures').splits.values() for f in fs or ())
    if n: files = [files[i] for i in sample_of(len(files), n)]
    source = Source(Path(folder), dict(train=files[:8], valid=files[8:], test=None))
    return ColorizeDataLoaders.from_source(source, size=size, bs=64).valid

def interval(d, n=2000):
    "Mean of `d`, and its bootstrap interval"
    import numpy as np
    rng = np.random.RandomState(0)
    means = [d[rng.randint(0, len(d), len(d))].mean() for _ in range(n)]
    return dict(mean=float(d.mean()), ci95=[float(o) for o in np.percentile(means, [2.5,97.5])])

def sheet(dl, predict, gain, n, fn):
    "One JPEG: `n` photographs in rows of 10 from best to worst, colored above, true below"
    import numpy as np, torch
    from PIL import Image
    from colorfast.color import l_ab2rgb
    from colorfast.study import sample_of
    pick = sample_of(len(gain), n)
    pick = sorted(pick, key=lambda i: -gain[i])
    l,ab = rows(dl, pick)
    pair = [l_ab2rgb(l, o).as_subclass(torch.Tensor) for o in (predict(l).cpu(), ab)]
    tiles = torch.cat(pair, 2).permute(0,2,3,1).clamp(0,1).mul(255).round().byte().numpy()
    h,w,k = *tiles.shape[1:3],10
    out = np.full((-(-n//k)*(h+6), k*(w+4), 3), 255, np.uint8)
    for i,o in enumerate(tiles): out[i//k*(h+6):i//k*(h+6)+h, i%k*(w+4):i%k*(w+4)+w] = o
    Image.fromarray(out).save(fn, quality=82, optimize=True)

def rows(dl, pick):
    "Batches' members at these places, in this order"
    import torch
    found,at = {},0
    for b in dl:
        for i in pick:
            if at<=i<at+len(b[0]): found[i] = [o[i-at].as_subclass(torch.Tensor) for o in b]
        at += len(b[0])
    return [torch.stack([found[i][j] for i in pick]) for j in (0,1)]

if __name__=='__main__': main()
