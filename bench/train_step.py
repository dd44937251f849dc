"""Generator updates x batch size per second, beside the way people train a colorizer with fastai today.

python bench/train_step.py [FOLDER] [--sizes 64,128] [--bs 16] [--batches 12] [--repeats 3] [--threads 2] [--steps] [--json FILE]

FOLDER holds photographs; without it made-up JPEGs of 500x375 px are used. The usual way is fastai's own GANLearner with
DynamicUnet(resnet18) and its defaults, a PatchGAN of 64 channels on L and ab, float32, contiguous memory, and scikit-image's
rgb2lab per item in two workers. Ours is colorize_learner as it comes; beside it the same with an output stride of 4. --steps puts the ways in between beside them, one
change at a time. Every way lives in its own process, so that its peak memory is its own; the processes take turns, an
epoch of --batches batches each, of which the first two are not timed."""
import argparse,json,multiprocessing as mp,os,resource,statistics,sys,tempfile,time,warnings
from pathlib import Path
from zoo import rounded

WAYS = dict(usual='the usual way',
            joint='one forward pass for both nets, cached bytes',
            slim='and the slim decoder',
            memory='and channels-last memory, bfloat16 where fast',
            critic='and a critic of 16 channels',
            ours='and no maps below 8x8 px: as it comes',
            quarter='and colors at a quarter of the resolution')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', nargs='?'); p.add_argument('--sizes', default='64,128'); p.add_argument('--bs', type=int, default=16)
    p.add_argument('--batches', type=int, default=12); p.add_argument('--repeats', type=int, default=3); p.add_argument('--threads', type=int, default=2)
    p.add_argument('--steps', action='store_true'); p.add_argument('--json')
    args = p.parse_args()
    with tempfile.TemporaryDirectory(prefix='colorfast') as tmp:
        os.environ['COLORFAST_CACHE'] = f'{tmp}/cache'
        table = [run(args, size, Path(tmp)) for size in map(int, args.sizes.split(','))]
    if args.json: Path(args.json).write_text(json.dumps(rounded(table), indent=1)+'\n')

def run(args, size, tmp):
    from data import made_up
    from fastai.vision.all import get_image_files
    n = args.bs*args.batches
    files = sorted(get_image_files(args.folder)) if args.folder else sorted(made_up(tmp/f'pics{size}', n+args.bs).iterdir())
    if len(files)<n+args.bs: sys.exit(f'{len(files)} pictures found, expected at least {n+args.bs}: use another folder, fewer --batches or a smaller --bs')
    ways = list(WAYS) if args.steps else ['usual','ours','quarter']
    ctx,procs = mp.get_context('spawn'),{}
    for k in ways:
        here,there = ctx.Pipe()
        o = ctx.Process(target=work, args=(there, k, [str(f) for f in files[:n+args.bs]], n, size, args.bs, args.threads))
        o.start(); there.close(); procs[k] = (o,here) # closed here, so that a process that dies is heard of
    ask = lambda k,what: (procs[k][1].send(what), procs[k][1].recv())[1]
    turns,mem = {k:[] for k in ways},{k:[] for k in ways}
    try:
        info = {k:ask(k, 'info') for k in ways}
        for r in range(args.repeats+1):
            for k in ways:
                rate,peak = ask(k, 'turn')
                if r: turns[k].append(rate)
                mem[k].append(peak)
        flops,limit = ask('ours', 'flops'),ask('ours', 'limit')
    finally:
        for o,_ in procs.values(): o.terminate(); o.join()
    med = {k:statistics.median(v) for k,v in turns.items()}
    ratios = {k:[a/b for a,b in zip(v,turns['usual'])] for k,v in turns.items()}
    print(f"{size} px, batches of {args.bs}, {info['ours']}")
    print(f"  {'':50} images/s   against usual   peak MB, first and last epoch")
    for k in ways:
        print(f'  {WAYS[k]:50} {med[k]:8.1f}   {statistics.median(ratios[k]):8.1f} x      {mem[k][0]:.0f}, {mem[k][-1]:.0f}   ({min(turns[k]):.1f} to {max(turns[k]):.1f} images/s)')
    print(f"  ours: {flops/1e9:.2f} GFLOP an image, so {med['ours']*flops/1e9:.0f} GFLOP/s; a large matrix product {limit/1e9:.0f}: {100*med['ours']*flops/limit:.0f} %\n", flush=True)
    ways = {k:dict(name=WAYS[k], ratio=statistics.median(ratios[k]), ratios=ratios[k], per_second=med[k], peak_mb=mem[k][-1]) for k in ways}
    return dict(size=size, bs=args.bs, device=info['ours'], ways=ways, gflop_per_image=flops/1e9, gflops=med['ours']*flops/1e9, matmul_gflops=limit/1e9)

def work(pipe, way, files, n, size, bs, threads):
    "A process that trains one way, an epoch a turn"
    import torch, platform
    warnings.simplefilter('ignore')
    mp.set_start_method('fork', force=True) # for the workers of the usual way
    torch.set_num_threads(threads)
    learn = usual(files, n, size, bs) if way=='usual' else ours(way, files, n, size, bs)
    from fastai.vision.all import default_device
    dev = default_device()
    while what:=pipe.recv():
        if what=='info': pipe.send(f"{torch.cuda.get_device_name() if dev.type=='cuda' else platform.machine()+' CPU'}, {threads} threads, torch {torch.__version__}")
        elif what=='turn': pipe.send(turn(learn, bs))
        elif what=='flops': pipe.send(count_flops(learn, bs))
        else: pipe.send(matmul_speed(dev))

def usual(files, n, size, bs):
    "fastai's GANLearner as its own documentation builds one, on L and ab"
    import torch, torch.nn.functional as F
    from data import Usual
    from fastai.vision.all import DataLoaders, DynamicUnet, create_body, resnet18
    from fastai.vision.gan import GANLearner
    from colorfast.models import PatchCritic
    class Pairs(Usual): # L, and L with ab
        def __getitem__(self, i): l,ab = super().__getitem__(i); return l,torch.cat([l,ab])
    class Generator(torch.nn.Module): # the whole picture comes out, so that the critic sees L and ab
        def __init__(self):
            super().__init__()
            self.unet = DynamicUnet(create_body(resnet18(weights=None), n_in=1, pretrained=False), 2, (size,size), y_range=(-1,1))
        def forward(self, x): return torch.cat([x, self.unet(x)], 1)
    class Critic(torch.nn.Module):
        def __init__(self): super().__init__(); self.net = PatchCritic(nf=64)
        def forward(self, lab): return self.net(lab[:,:1], lab[:,1:])
    bce = lambda score,t: F.binary_cross_entropy_with_logits(score, torch.full_like(score, t))
    dls = DataLoaders.from_dsets(Pairs(files[:n],size), Pairs(files[n:],size), bs=bs, num_workers=2)
    return GANLearner(dls, Generator(), Critic(), lambda fake,out,targ: bce(fake,1.)+100*F.l1_loss(out[:,1:],targ[:,1:]), lambda real,fake: (bce(real,1.)+bce(fake,0.))/2, lr=2e-4)

def ours(way, files, n, size, bs):
    "colorize_learner as it comes, or with less of what makes it fast"
    from fastai.vision.all import DynamicUnet, resnet18
    from colorfast.data import ColorizeDataLoaders
    from colorfast.learner import colorize_learner
    from colorfast.pretext import CGAN
    dls = ColorizeDataLoaders.from_files(files, valid_pct=(len(files)-n)/len(files), size=size, bs=bs, drop_gray=0)
    whole,big = dict(max_stride=32),dict(pretext=CGAN(nf=64))
    kw = dict(joint=whole|big|dict(unet=DynamicUnet, fast=False), slim=whole|big|dict(fast=False), memory=whole|big, critic=whole, ours={},
              quarter=dict(pretext=CGAN(nf=16, lambda_l1=400., stride=4, n_layers=2)))
    return colorize_learner(dls, resnet18, metrics=[], **kw[way])

def turn(learn, bs):
    "Images per second of the generator's updates in one epoch without its first two batches, and the peak memory so far in MB"
    import torch
    from fastai.vision.all import Callback, CancelValidException
    class Clock(Callback):
        order = 100
        def before_fit(self): self.n = self.done = 0
        def sync(self):
            if torch.cuda.is_available(): torch.cuda.synchronize()
            return time.perf_counter()
        def after_batch(self):
            if not self.training: return
            self.n += 1
            if self.n==2: self.t = self.sync()
            elif self.n>2: self.done += bool(getattr(getattr(self.learn,'gan_trainer',None), 'gen_mode', True))
        def after_train(self): self.rate = self.done*bs/(self.sync()-self.t)
        def before_validate(self): raise CancelValidException
    clock = Clock()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, cbs=clock)
    peak = torch.cuda.max_memory_allocated()/2**20 if torch.cuda.is_available() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
    return clock.rate,peak

def count_flops(learn, bs):
    "Floating-point operations of a training step, an image"
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from fastai.vision.all import Callback
    class Count(Callback):
        order = -100
        def before_batch(self):
            if self.training and not hasattr(self, 'mode'): self.mode = FlopCounterMode(display=False); self.mode.__enter__()
        def after_batch(self):
            if self.training and not hasattr(self, 'flops'): self.mode.__exit__(None,None,None); self.flops = self.mode.get_total_flops()/bs
    count = Count()
    with learn.no_bar(), learn.no_logging(): learn.fit(1, cbs=count)
    return count.flops

def matmul_speed(dev, n=2048, repeats=5):
    "Floating-point operations a second of a matrix product in the type that the forward pass uses"
    import torch
    from colorfast.learner import has_fast_bf16
    a = torch.randn(n, n, device=dev, dtype=torch.bfloat16 if has_fast_bf16(dev) else torch.float32)
    sync = torch.cuda.synchronize if dev.type=='cuda' else (lambda: None)
    a@a; sync(); best = 0
    for _ in range(repeats):
        t = time.perf_counter(); a@a; sync()
        best = max(best, 2*n**3/(time.perf_counter()-t))
    return best

if __name__=='__main__': main()
