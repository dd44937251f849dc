"""What a training step consists of, what each choice costs or saves, and what a large photograph takes, as ratios.

python bench/fast.py [--size 64] [--bs 16] [--batches 4] [--repeats 3] [--threads 1] --json FILE

Made-up pictures, everything in one process. Times are compared only with others of the same run: the ways take turns, an
epoch each of which the first two batches are not timed, and a row is the median of the ratios within a turn. The parts of a
step are shares of its time, by the clock and by PyTorch's profiler. bench/train_step.py holds the whole against
the usual way."""
import argparse,json,os,platform,statistics,tempfile,time,warnings
from pathlib import Path
from zoo import rounded

GROUPS = dict(convolution=('convolution','conv2d','mkldnn_conv'), norm=('batch_norm',), copies=('copy_','::cat','clone','contiguous','::to','fill_','zero_'),
              enlarging=('upsample','pixel_shuffle','_pad'), activation=('relu','threshold','sigmoid','tanh'), optimizer=('adam',))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--size', type=int, default=64); p.add_argument('--bs', type=int, default=16); p.add_argument('--batches', type=int, default=4)
    p.add_argument('--repeats', type=int, default=3); p.add_argument('--threads', type=int, default=1); p.add_argument('--json')
    args = p.parse_args()
    warnings.simplefilter('ignore')
    import torch
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory(prefix='colorfast') as tmp:
        os.environ['COLORFAST_CACHE'] = f'{tmp}/cache'
        files = pictures(Path(tmp), args.bs*(args.batches+1))
        res = dict(device=device(args.threads), size=args.size, bs=args.bs, repeats=args.repeats)
        todo = dict(parts=lambda: {f'stride {o}':parts(files, args, o) for o in (1,4)}, kinds=lambda: kinds(files, args), loader=lambda: loader(files, args),
                    photograph=lambda: photograph(args), choices=lambda: choices(files, args))
        for k,f in todo.items():
            res[k] = f()
            print(k, json.dumps(rounded(res[k]), indent=1), flush=True)
    if args.json: Path(args.json).write_text(json.dumps(rounded(res), indent=1)+'\n')

def device(threads):
    "Processor, as Linux names it, threads used, and PyTorch"
    import torch
    info = Path('/proc/cpuinfo')
    names = [o.split(':', 1)[1].strip() for o in info.read_text().splitlines() if o.startswith('model name')] if info.exists() else []
    return dict(processor=next(iter(names), platform.machine()), threads=threads, torch=torch.__version__.split('+')[0])

def pictures(tmp, n):
    from data import made_up
    return sorted(made_up(tmp/'pics', n).iterdir())

def learner(files, args, stride=1, half=False, bs=None, bf16=None, **kw):
    "`colorize_learner` as it comes, but for what is said"
    from colorfast.data import ColorizeDataLoaders
    from colorfast.learner import AutoCast, SmallFirst, colorize_learner
    from colorfast.pretext import CGAN
    bs = bs or args.bs
    n = len(files)-args.bs
    dls = ColorizeDataLoaders.from_files(files, valid_pct=args.bs/len(files), size=args.size, bs=min(bs, n), drop_gray=0)
    kw = dict(pretext=CGAN(nf=16, lambda_l1=400., stride=stride, n_layers=2 if stride>1 else 3)) | kw
    learn = colorize_learner(dls, metrics=[], cbs=[SmallFirst(args.size//2, 10**6)] if half else None, **kw)
    if bf16: learn.remove_cb(AutoCast); learn.add_cb(AutoCast(True))
    return learn

def choices(files, args):
    "Seconds a picture as a share of those of `colorize_learner` as it comes, the ways taking turns"
    from train_step import turn
    ways = {'as it comes':{}, 'pictures of half the size':dict(half=True), 'batches of 4':dict(bs=4), 'channels first':dict(fast=False),
            'bfloat16, emulated':dict(bf16=True)}
    learns,took = {k:learner(files, args, **kw) for k,kw in ways.items()},{k:[] for k in ways}
    for r in range(args.repeats+1):
        for k,o in learns.items():
            rate = turn(o, ways[k].get('bs', args.bs))[0]
            if r: took[k].append(1/rate)
    ratios = {k:[a/b for a,b in zip(v, took['as it comes'])] for k,v in took.items()}
    return {k:dict(median=statistics.median(v), low=min(v), high=max(v)) for k,v in ratios.items()}

def parts(files, args, stride):
    "Shares of a step's time by the clock, medians over batches"
    from fastai.vision.all import Callback, CancelValidException
    class Clock(Callback):
        order = 100
        def before_fit(self): self.rows = []
        def before_train(self): self.t,self.row = time.perf_counter(),{}
        def lap(self, name):
            now = time.perf_counter()
            self.row[name],self.t = self.row.get(name,0)+now-self.t,now
        def before_batch(self): self.lap('loader')
        def after_pred(self): self.lap('generator, forward')
        def after_loss(self): self.lap('critic and losses')
        def before_step(self): self.lap('backward')
        def after_step(self): self.lap('optimizer')
        def after_batch(self): self.lap('rest'); self.rows.append(self.row); self.row = {}
        def before_validate(self): raise CancelValidException
    learn,clock = learner(files, args, stride),Clock()
    with learn.no_bar(), learn.no_logging(): learn.fit(args.repeats, cbs=clock)
    rows = clock.rows[2:]
    return {k:statistics.median(r[k]/sum(r.values()) for r in rows) for k in rows[0]}

def kinds(files, args):
    "Operations a picture, their rate as a share of that of a matrix product (on a quiet machine: the product is short), and which operations take the time"
    import torch
    from torch.profiler import ProfilerActivity, profile
    from fastai.vision.all import default_device
    from train_step import count_flops, matmul_speed, turn
    learn,ratios,res = learner(files, args),[],{}
    flops = count_flops(learn, args.bs)
    for _ in range(args.repeats): ratios.append(turn(learn, args.bs)[0]*flops/matmul_speed(default_device()))
    with profile(activities=[ProfilerActivity.CPU]) as prof: turn(learn, args.bs)
    for o in prof.key_averages():
        if 'DataLoader' in o.key: continue
        res.setdefault(next((k for k,v in GROUPS.items() if any(s in o.key.lower() for s in v)), 'other'), []).append(o.self_cpu_time_total)
    res = {k:sum(v) for k,v in res.items()}
    return dict(gflop_per_image=flops/1e9, of_matmul=statistics.median(ratios), low=min(ratios), high=max(ratios), shares={k:v/sum(res.values()) for k,v in res.items()})

def loader(files, args):
    "Seconds of an epoch of the loader, as a share of the cached one's; and of one that decodes each time, as the usual way does"
    from colorfast.data import ColorizeDataLoaders
    kw = dict(valid_pct=args.bs/len(files), size=args.size, bs=args.bs, drop_gray=0)
    dls = {k:ColorizeDataLoaders.from_files(files, cache=k=='cached', **kw).train for k in ('cached','decoded each time')}
    took = {k:[] for k in dls}
    for r in range(args.repeats+1):
        for k,dl in dls.items():
            t = time.perf_counter()
            for _ in range(5 if k=='cached' else 1):
                for _ in dl: pass
            if r: took[k].append((time.perf_counter()-t)/(5 if k=='cached' else 1))
    return {k:statistics.median(a/b for a,b in zip(v, took['cached'])) for k,v in took.items()}

def photograph(args):
    "Seconds to color a photograph by its size, as a share of those of one of 0.3 megapixels; and what the network takes of them"
    import numpy as np
    from PIL import Image
    from colorfast.inference import Colorizer
    small = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6,8), dtype=np.uint8))
    pics = {f'{w*h/1e6:.1f}':small.resize((w,h), Image.BICUBIC) for w,h in ((640,480),(2048,1536),(4000,3000))}
    took,net = {k:[] for k in pics},{k:[] for k in pics}
    model = Colorizer.load('photos')
    spent = [0.]
    def timed(f):
        def run(*a, **kw):
            t = time.perf_counter(); r = f(*a, **kw); spent[0] += time.perf_counter()-t
            return r
        return run
    model.predict = timed(model.predict)
    for r in range(args.repeats+1):
        for k,im in pics.items():
            spent[0],t = 0.,time.perf_counter()
            model.colorize(im)
            t = time.perf_counter()-t
            if r: took[k].append(t); net[k].append(spent[0]/t)
    first = next(iter(pics))
    return {k:dict(of_first=statistics.median(a/b for a,b in zip(v, took[first])), network=statistics.median(net[k])) for k,v in took.items()}

if __name__=='__main__': main()
