"""Failures of a colorizing GAN, each provoked by one setting: logs, scores and the same test scenes painted by each.

python bench/failures.py [--size 64] [--scenes 600] [--epochs 8] [--seed 0] [--threads 1] [--only NAME,NAME] --out FOLDER

Scenes are drawn; nothing else is needed. FOLDER gets failures.json, written anew after each run, and failures.webp, a row of six
test scenes for each run below the rows gray and true. The settings in the JSON are the lines that were run."""
import argparse, json, platform, tempfile, time, warnings
from pathlib import Path
from zoo import rounded

SOUND = 'colorize_learner(dls, resnet18, CGAN(nf=16))'
WAYS = { # name: data, learner; each differs from the first in one place
    'as it should be':   ('scenes', SOUND),
    'no critic':         ('scenes', 'colorize_learner(dls, resnet18, Regression())'),
    'no L1':             ('scenes', 'colorize_learner(dls, resnet18, CGAN(nf=16, lambda_l1=0))'),
    'critic too strong': ('scenes', 'colorize_learner(dls, resnet18, CGAN(nf=16), lr=(2e-3,4e-3))'),
    'gray pictures':     ('gray', SOUND)}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--size', type=int, default=64); p.add_argument('--scenes', type=int, default=600); p.add_argument('--epochs', type=int, default=8); p.add_argument('--seed', type=int, default=0)
    p.add_argument('--threads', type=int, default=1); p.add_argument('--only', type=lambda o: o.split(','), default=list(WAYS)); p.add_argument('--out', type=Path, required=True)
    args = p.parse_args()
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory(prefix='colorfast') as tmp: run(args, Path(tmp))

def half_gray(path, to):
    "A copy of the scenes in which every other training picture has lost its color"
    import shutil
    from PIL import Image
    shutil.copytree(path, to)
    files = sorted(to.rglob('unlabeled*/*'))[::2]
    for f in files: Image.open(f).convert('L').convert('RGB').save(f)
    return to,len(files)

def run(args, tmp):
    import torch
    from importlib.metadata import version
    from fastai.vision.all import Image, resnet18, set_seed
    from colorfast.all import CGAN, Regression, ColorizeDataLoaders, EpochSeed, TensorAB, TensorL, colorize_learner, l_ab2rgb, make_scenes
    torch.set_num_threads(args.threads)
    path = make_scenes(tmp/'scenes', n_unlabeled=args.scenes, n_train=1, n_val=40, n_test=100, size=args.size, progress=False)
    gray,n = half_gray(path, tmp/'gray')
    assert n==(args.scenes+1)//2
    load = dict(scenes=lambda: ColorizeDataLoaders.from_coco(path, size=args.size, bs=16), gray=lambda: ColorizeDataLoaders.from_coco(gray, size=args.size, bs=16, drop_gray=0))
    res = dict(scenes=args.scenes, gray=n, epochs=args.epochs, test=100, seed=args.seed, size=args.size, threads=args.threads, versions={k:version(k) for k in ('torch','fastai')}|dict(python=platform.python_version()), runs={})
    l,ab = [o[:6].as_subclass(torch.Tensor).cpu() for o in next(iter(load['scenes']()[2]))]
    strip = lambda o: torch.cat(list(o), 2)
    rows = [strip(l_ab2rgb(TensorL(l), TensorAB(o)).as_subclass(torch.Tensor)) for o in (0*ab,ab)]
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        data,code = WAYS[name]
        set_seed(args.seed)
        began,dls = time.time(),load[data]()
        learn = eval(code, dict(dls=dls, colorize_learner=colorize_learner, resnet18=resnet18, CGAN=CGAN, Regression=Regression))
        if hasattr(learn.model, 'critic'): learn.metrics = learn.metrics+[right_share()]
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(args.epochs, cbs=EpochSeed(args.seed))
        log = [dict(zip(learn.recorder.metric_names[1:-1], map(float, o))) for o in learn.recorder.values]
        res['runs'][name] = dict(data=data, code=code, seconds=round(time.time()-began), log=log, score=learn.score(2), spread=spread(learn))
        res['row'] = ['input','truth',*res['runs']]
        rows.append(strip(l_ab2rgb(TensorL(l), TensorAB(learn.predict_ab(l))).as_subclass(torch.Tensor)))
        sheet = (255*torch.cat(rows, 1)).round().byte().permute(1,2,0).numpy()
        Image.fromarray(sheet.repeat(2, 0).repeat(2, 1)).save(args.out/'failures.webp', quality=85)
        (args.out/'failures.json').write_text(json.dumps(rounded(res, 4), separators=(',',':'))+'\n')
        print(name, res['runs'][name]['seconds'], 's', {k:round(v, 3) for k,v in log[-1].items()}, 'spread', res['runs'][name]['spread'], flush=True)

def right_share():
    "Share of validation patches, half of them true and half painted, that the critic puts on the right side of one half"
    import torch
    from fastai.vision.all import Metric
    from colorfast.learner import critic_map
    class CriticRight(Metric):
        name = 'critic_right'
        def reset(self): self.right,self.n = 0.,0
        def accumulate(self, learn):
            l = learn.x
            ps = critic_map(learn, l, learn.y)>.5,critic_map(learn, l, learn.pred.detach())<=.5
            self.right,self.n = self.right+sum(float(o.sum()) for o in ps),self.n+sum(o.numel() for o in ps)
        @property
        def value(self): return self.right/self.n
    return CriticRight()

def spread(learn):
    "How much the mean colors of test pictures differ from each other, as a share of the truth's: 0 when all get one color"
    import torch
    pred,true = [],[]
    for l,ab in learn.dls[2]:
        pred.append(learn.predict_ab(l).mean((2,3)))
        true.append(ab.as_subclass(torch.Tensor).cpu().mean((2,3)))
    sd = [torch.cat(o).var(0).sum().sqrt().item() for o in (pred,true)]
    return sd[0]/sd[1]

if __name__=='__main__': main()
