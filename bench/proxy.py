"""What hypercolumns over a deep network would take on ImageNet, estimated from what is measured here in little.

python bench/proxy.py [--arch resnet152] [--taps 15] [--size 64] [--bs 2] [--steps 3] [--threads 1]
                      [--at 224,256] [--at-bs 32] [--epochs 10] [--tflops 20] [--pictures 1281167] [--json FILE]

Measured: seconds and peak memory of a training step (forward, loss, backward, Adam) of `Hypercolumn` over ARCH at SIZE px,
all stages, made-up pictures. Counted, without computing anything (on torch's meta device): floating-point operations and
bytes kept for the backward pass, a picture, at SIZE and at the sizes AT. Seconds at those sizes are operations by the rate
measured here, which larger maps usually raise; --tflops says what another machine sustains in training (not its data
sheet: a third of that is common). Memory is weights, gradients, Adam's two moments and the average of weights, and what
the backward pass keeps of AT_BS pictures in float32 (bfloat16 keeps about half); the temporary memory of the kernels comes
on top. Both of the last are compared here with what was measured at SIZE."""
import argparse, json, platform, resource, sys, time, warnings
from pathlib import Path

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--arch', default='resnet152'); p.add_argument('--taps', type=int, default=15); p.add_argument('--size', type=int, default=64)
    p.add_argument('--bs', type=int, default=2); p.add_argument('--steps', type=int, default=3); p.add_argument('--threads', type=int, default=1)
    p.add_argument('--at', default='224,256'); p.add_argument('--at-bs', type=int, default=32); p.add_argument('--epochs', type=int, default=10)
    p.add_argument('--tflops', type=float, default=20.); p.add_argument('--pictures', type=int, default=1281167); p.add_argument('--json')
    a = p.parse_args()
    warnings.simplefilter('ignore')
    import torch
    torch.set_num_threads(a.threads)
    dev = 'cuda' if torch.cuda.is_available() else 'cpu'
    seconds,base,peak = measure(a.arch, a.taps, a.size, a.bs, a.steps, dev)
    here = count(a.arch, a.taps, a.size, 2)
    rate = here['flops']/seconds
    name = torch.cuda.get_device_name() if dev=='cuda' else f'{platform.machine()} CPU, {a.threads} thread(s)'
    print(f"{a.arch}, {a.taps} taps, {here['weights']/1e6:.1f} million weights, a hypercolumn of {here['column']} numbers; {name}, torch {torch.__version__}")
    print(f"measured at {a.size} px, batches of {a.bs}: {seconds:.3f} s a picture, {here['flops']/1e9:.2f} GFLOP a picture, so {rate/1e9:.1f} GFLOP/s")
    counted = memory(here, a.bs)-4*here['weights'] # no average of weights was kept
    print(f"  peak memory {(peak-base)/2**20:.0f} MB above the {base/2**20:.0f} MB of an idle process; counted {counted/2**20:.0f} MB")
    rows = []
    for size in map(int, a.at.split(',')):
        o = count(a.arch, a.taps, size, 2)
        s,other = o['flops']/rate,o['flops']/(a.tflops*1e12)
        days = [a.pictures*a.epochs*t/86400 for t in (s,other)]
        rows.append(dict(size=size, gflop=o['flops']/1e9, kept_mb=o['kept']/2**20, memory_gb=memory(o, a.at_bs)/2**30, seconds_here=s, days_here=days[0], seconds_other=other, days_other=days[1]))
        print(f"estimated at {size} px: {o['flops']/1e9:.1f} GFLOP and {o['kept']/2**20:.0f} MB a picture; {memory(o, a.at_bs)/2**30:.1f} GB for batches of {a.at_bs}")
        print(f"  here {s:.1f} s a picture, {days[0]:.0f} days for {a.epochs} epochs of {a.pictures} pictures; at {a.tflops:g} TFLOP/s {1e3*other:.1f} ms and {days[1]:.1f} days")
    size = int(a.at.split(',')[0])
    print(f"\ncolorfast pretrain IMAGENET/train --out proxy --pretext hypercolumn --arch {a.arch} --size {size} --max-stride 32 --bs {a.at_bs} --epochs {a.epochs} "
          f"--set ema=.999 mom=.9 pretext_kw.taps={a.taps}")
    if a.json: Path(a.json).write_text(json.dumps(dict(vars(a), device=name, torch=torch.__version__, seconds=seconds, peak_mb=(peak-base)/2**20, idle_mb=base/2**20, here=here, rows=rows), indent=1))

def network(arch, taps, size):
    from colorfast.pretext import ColorLoss
    from colorfast.hypercolumn import Hypercolumn
    p = Hypercolumn(taps=taps)
    return p.network(arch, size),ColorLoss(p)

def pictures(bs, size, dev):
    import torch
    return torch.rand(bs, 1, size, size, device=dev)*2-1,torch.rand(bs, 2, size, size, device=dev)-.5

def measure(arch, taps, size, bs, steps, dev):
    "Seconds a picture, the process's memory before, and its peak, in bytes"
    import torch
    net,loss = network(arch, taps, size)
    now = lambda: torch.cuda.max_memory_allocated() if dev=='cuda' else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*(1 if sys.platform=='darwin' else 1024)
    weights = 4*sum(o.numel() for o in net.parameters())
    base = now()-(0 if dev=='cuda' else weights) # made already, and counted as a part of training
    net = net.to(dev, memory_format=torch.channels_last).train()
    opt = torch.optim.Adam(net.parameters(), 1e-4, fused=True)
    l,ab = pictures(bs, size, dev)
    times = []
    for _ in range(steps+1): # the first one allocates
        t = time.perf_counter()
        opt.zero_grad(); loss.step(net(l), ab, l)[0].backward(); opt.step()
        if dev=='cuda': torch.cuda.synchronize()
        times.append(time.perf_counter()-t)
    return sorted(times[1:])[len(times[1:])//2]/bs,base,now()

def count(arch, taps, size, bs):
    "Operations and bytes kept for backward, a picture; weights and numbers in a hypercolumn; nothing is computed"
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    net,loss = network(arch, taps, size)
    column,weights = net[1][0].num_features,sum(o.numel() for o in net.parameters())
    net = net.to('meta').train()
    l,ab = pictures(bs, size, 'meta')
    own,kept = {o.untyped_storage()._cdata for o in net.parameters()},{}
    def keep(o):
        store = o.untyped_storage()
        if store._cdata not in own: kept[store._cdata] = store
        return o
    with FlopCounterMode(display=False) as flops:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda o: o): res = loss.step(net(l), ab, l)[0]
        nbytes = sum(o.nbytes() for o in kept.values())
        res.backward()
    return dict(flops=flops.get_total_flops()/bs, kept=nbytes/bs, weights=weights, column=column)

def memory(o, bs): # weights, gradients, two moments, the average; and what backward needs
    return 4*5*o['weights']+bs*o['kept']

if __name__=='__main__': main()
