"""Detection: what the page *Find it* reads.

python bench/detect.py shrink RUN DATA --json FILE [--picture FILE.png]
python bench/detect.py minutes DATA --json FILE [--body photos] [--size 128] [--epochs 16] [--bs 16] [--lr 1e-3] [--threads 2]

`shrink` writes the results of a run of `colorfast transfer detect` on DATA with what figures need beside them: precision
at 21 recalls (IoU .5; mean over the classes that count and over seeds), how many objects are found in pictures of one, two
and more, how many objects of each class there are and how large they are, and the run's boxes.png with fewer colors.

`minutes` trains one detector and writes AP on validation pictures, seconds and processor seconds after every epoch: what
it takes on this machine. Both count from the first batch on; validation is in them."""
import argparse, json, os, platform, time, warnings
from pathlib import Path
from zoo import rounded

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = p.add_subparsers(dest='verb', required=True)
    s = verbs.add_parser('shrink'); s.add_argument('run', type=Path); s.add_argument('data'); s.add_argument('--json', required=True); s.add_argument('--picture')
    m = verbs.add_parser('minutes'); m.add_argument('data'); m.add_argument('--json', required=True); m.add_argument('--body', default='photos')
    for k,v in dict(size=128, epochs=16, bs=16, lr=1e-3, threads=2).items(): m.add_argument(f'--{k}', type=type(v), default=v)
    args = p.parse_args()
    warnings.simplefilter('ignore')
    res = shrink(args) if args.verb=='shrink' else minutes(args)
    Path(args.json).parent.mkdir(parents=True, exist_ok=True)
    Path(args.json).write_text(json.dumps(rounded(res, 5), separators=(',',':'))+'\n')

def shrink(args):
    import numpy as np
    res = json.loads((args.run/'results.json').read_text())
    res['config']['data'] = Path(args.data).name
    runs = {a:[dict(np.load(f)) for f in sorted((args.run/'units').glob(f'detect_{a}_[0-9].npz'))] for a in ('scratch','pretrained')}
    at = runs['scratch'][0].get('columns', np.arange(runs['scratch'][0]['true'].shape[1]))
    res['found'] = {a:dict(pr=np.mean([curve(o, at) for o in r], 0).tolist(), crowd=crowds(r, at)) for a,r in runs.items()}
    res['objects'] = objects(args.data)
    if args.picture: picture(args.run/'boxes.png', args.picture)
    return res

def curve(a, at):
    "Precision at 21 recalls, mean over the classes `at`; at each recall the best from there on, as in COCO"
    import numpy as np
    rows,grid = [],np.linspace(0,1,21)
    for c in at:
        n,i = a['true'][:,c].sum(),np.flatnonzero(a['cls']==c)
        if not n: continue
        hit = a['coco'][i[np.argsort(-a['score'][i], kind='stable')],0]
        tp,fp = (hit==1).cumsum(),(hit==0).cumsum()
        best = np.maximum.accumulate((tp/np.maximum(tp+fp, 1))[::-1])[::-1]
        rows.append(np.append(best, 0)[np.searchsorted(tp/n, grid-1e-9)])
    return np.mean(rows, 0)

def crowds(runs, at, least=.3):
    "By the number of objects in a picture: pictures, objects, found ones and false alarms from a score of `least` on; mean over seeds"
    import numpy as np
    res = {}
    for k in (1,2,3,4):
        rows = []
        for a in runs:
            n = a['true'][:,at].sum(1)
            pics = np.flatnonzero(n==k) if k<4 else np.flatnonzero(n>=4)
            i = np.isin(a['image'], pics) & np.isin(a['cls'], at) & (a['score']>=least)
            rows.append([len(pics), n[pics].sum(), (a['coco'][i,0]==1).sum(), (a['coco'][i,0]==0).sum()])
        res[str(k)] = dict(zip(('pictures','objects','found','wrong'), np.mean(rows, 0).tolist()))
    return res

def objects(data):
    "By class: objects in training and in test that count, and the median side of a training object as a share of the picture's"
    import numpy as np
    from PIL import Image
    from colorfast.sources import read_source
    src,res = read_source(data, 'boxes'),{}
    for split in ('train','test'):
        for f in map(str, src.splits.get(split) or ()):
            w,h = Image.open(f).size
            for b in src.boxes.get(f) or ():
                o = res.setdefault(str(b.label), dict(train=0, test=0, side=[]))
                if b.crowd or b.difficult: continue
                o[split] += 1
                if split=='train': o['side'].append(max(0, (b.x1-b.x0)*(b.y1-b.y0)/(w*h))**.5)
    return {k:o|dict(side=float(np.median(o['side'])) if o['side'] else None) for k,o in sorted(res.items())}

def picture(fn, out, most=75_000):
    "A PNG of 720 px, of as many colors as fit"
    from PIL import Image
    im = Image.open(fn).convert('RGB')
    im = im.resize((720,round(720*im.height/im.width)), Image.LANCZOS)
    for n in (256,128,64,32,16):
        im.quantize(n).save(out, optimize=True)
        if os.path.getsize(out)<=most: return
    raise SystemExit(f'{out} has {os.path.getsize(out)} bytes')

def minutes(args):
    import torch
    from fastai.callback.core import Callback
    from colorfast.all import detect_learner, load_body, set_seed, task_dls, ChannelsLast
    torch.set_num_threads(args.threads)
    dls,rows = task_dls('detect', args.data, size=args.size, bs=args.bs),[]
    class Clock(Callback):
        order = 70
        def before_fit(self): self.t0,self.c0 = time.perf_counter(),time.process_time()
        def after_epoch(self):
            names,values = self.recorder.metric_names[1:-1],self.recorder.log[1:]
            row = dict(zip(names, map(float, values))) | dict(seconds=time.perf_counter()-self.t0, processor=time.process_time()-self.c0)
            rows.append(row)
            print(f"epoch {len(rows)}  AP {row['ap']:.3f}  AP50 {row['ap50']:.3f}  {row['seconds']:.0f} s  {row['processor']:.0f} s of a core", flush=True)
    set_seed(0)
    learn = detect_learner(dls, load_body(args.body), cbs=[ChannelsLast(),Clock()])
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(args.epochs, args.lr)
    config = {k:getattr(args, k) for k in ('body','size','epochs','bs','lr','threads')} | dict(data=Path(args.data).name)
    config |= dict(n_train=len(dls.train_ds), n_valid=len(dls.valid_ds), cores=os.cpu_count(), machine=platform.machine())
    return dict(config=config, epochs=rows)

if __name__=='__main__': main()
