"""Seconds to color a photograph with the shipped colorizer: first call, loaded once, and the whole command.

python bench/colorize.py [--megapixels 12] [--repeats 3] [--threads N] [--model photos]

The photograph is made here: smooth noise of three sizes, as a JPEG on disk, so decoding counts. `first` includes loading the
model, `next` does not, and `cpu` is what that one costs in seconds of one core; `command` is `colorfast colorize` in a new Python, with all its imports, and writing the result."""
import argparse, os, platform, statistics, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np, torch
from PIL import Image

def photo(mp, fn):
    "A picture of `mp` megapixels, 4:3"
    h = round((mp*1e6*3/4)**.5); w = round(h*4/3)
    rng,a = np.random.default_rng(0),0
    for k,amount in ((6,.6), (60,.3), (600,.1)):
        im = Image.fromarray(rng.integers(0, 256, (k*3//4+1,k,3), dtype=np.uint8)).resize((w,h), Image.BICUBIC)
        a = a+amount*np.asarray(im, dtype=np.float32)
    Image.fromarray(a.clip(0,255).astype(np.uint8)).save(fn, quality=90)
    return w,h

def timed(f):
    t = time.perf_counter(); f()
    return time.perf_counter()-t

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--megapixels', type=float, default=12); p.add_argument('--repeats', type=int, default=3)
    p.add_argument('--threads', type=int); p.add_argument('--model', default='photos')
    a = p.parse_args()
    if a.threads: torch.set_num_threads(a.threads); os.environ['OMP_NUM_THREADS'] = str(a.threads)
    from colorfast.inference import colorize
    with tempfile.TemporaryDirectory() as d:
        fn = Path(d)/'photo.jpg'
        w,h = photo(a.megapixels, fn)
        print(f'{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}; {w}x{h} px')
        print(f'first   {timed(lambda: colorize(fn, a.model)):6.2f} s')
        ts = [timed(lambda: colorize(fn, a.model)) for _ in range(a.repeats)]
        print(f'next    {statistics.median(ts):6.2f} s  ({min(ts):.2f} to {max(ts):.2f})')
        c = time.process_time(); colorize(fn, a.model)
        print(f'cpu     {time.process_time()-c:6.2f} s')
        args = [sys.executable, '-m', 'colorfast.cli', 'colorize', str(fn), '--model', a.model, '--out', str(Path(d)/'out')]
        print(f'command {timed(lambda: subprocess.run(args, check=True, capture_output=True)):6.2f} s')

if __name__ == '__main__': main()
