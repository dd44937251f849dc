"""Seconds of `from colorfast.all import *` beyond importing fastai, and of `colorfast --help`.

python bench/startup.py [--repeats 5] [--json FILE]

Every turn is a Python of its own that imports fastai first and colorfast second, so both meet the same machine; the
first turn, which fills the disk's cache, is not counted. The slowest modules of ours are listed below the medians."""
import argparse, json, os, platform, re, statistics, subprocess, sys, time

CODE = """
import time; t = time.perf_counter()
from fastai.vision.all import *
a = time.perf_counter()
from colorfast.all import *
print(a-t, time.perf_counter()-a)"""

def python(*args):
    "Standard output and error of a new Python"
    r = subprocess.run([sys.executable, *args], capture_output=True, text=True, check=True, env={**os.environ, 'MPLBACKEND':'Agg'})
    return r.stdout,r.stderr

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--repeats', type=int, default=5); p.add_argument('--json')
    args = p.parse_args()
    rows = {'fastai':[], 'colorfast beyond fastai':[], 'colorfast --help':[]}
    for r in range(args.repeats+1):
        fastai,ours = map(float, python('-c', CODE)[0].split()[-2:])
        t = time.perf_counter(); python('-m', 'colorfast.cli', '--help'); t = time.perf_counter()-t
        if r:
            for k,v in zip(rows, (fastai,ours,t)): rows[k].append(v)
    print(f'{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n')
    for k,v in rows.items(): print(f'{k:26} {statistics.median(v):6.2f} s  ({min(v):.2f} to {max(v):.2f})')
    err = python('-X', 'importtime', '-c', 'from fastai.vision.all import *; from colorfast.all import *')[1]
    took = {name:int(us)/1e6 for us,name in re.findall(r'import time: +\d+ \| +(\d+) \|  +(colorfast\.\w+)$', err, re.M)}
    print('\nmodules, with what they load: ' + ', '.join(f'{k} {v:.2f} s' for k,v in sorted(took.items(), key=lambda o: -o[1])[:4]))
    if args.json: json.dump(rows, open(args.json, 'w'), indent=1)

if __name__ == '__main__': main()
