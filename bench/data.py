"""Images per second of reading: decode, resize, cache, conversion and whole loader, beside the usual way.

python bench/data.py [FOLDER] [--sizes 64,128] [--bs 64] [--repeats 5] [--threads 2] [--json FILE]

FOLDER holds photographs; without it 600 made-up JPEGs of 500x375 px are used. The usual way is a torch DataLoader
with two workers whose __getitem__ opens, resizes and converts one picture with scikit-image. Both take turns, an
epoch each; a row shows the median of all turns and the range. Epochs count from the second on."""
import argparse,json,os,platform,statistics,tempfile,time,warnings
from pathlib import Path

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', nargs='?'); p.add_argument('--sizes', default='64,128'); p.add_argument('--bs', type=int, default=64)
    p.add_argument('--repeats', type=int, default=5); p.add_argument('--threads', type=int, default=2); p.add_argument('--json')
    args = p.parse_args()
    warnings.simplefilter('ignore')
    with tempfile.TemporaryDirectory(prefix='colorfast') as tmp:
        os.environ['COLORFAST_CACHE'] = f'{tmp}/cache'
        run(args, Path(tmp))

def made_up(d, n=600):
    "JPEGs of 500x375 px, smooth with some grain"
    import numpy as np
    from PIL import Image
    d.mkdir()
    for i in range(n):
        rng = np.random.default_rng(i)
        a = np.asarray(Image.fromarray(rng.integers(0,255,(6,8,3),dtype=np.uint8)).resize((500,375), Image.BICUBIC)).astype(int)
        Image.fromarray((a+rng.integers(-12,12,a.shape)).clip(0,255).astype(np.uint8)).save(d/f'{i:04}.jpg', quality=90)
    return d

class Usual:
    "One picture at a time: open, resize, crop, convert with scikit-image"
    def __init__(self, files, size): self.files,self.size = files,size
    def __len__(self): return len(self.files)
    def __getitem__(self, i):
        import numpy as np, torch
        from PIL import Image, ImageOps
        from skimage.color import rgb2lab
        im = ImageOps.fit(ImageOps.exif_transpose(Image.open(self.files[i])).convert('RGB'), (self.size,self.size), Image.BILINEAR)
        lab = torch.from_numpy(rgb2lab(np.asarray(im)).astype('float32')).permute(2,0,1)
        return lab[:1]/50-1, lab[1:]/128

def rates(turns, n, repeats):
    "{name: images per second of each repeat} of functions that take turns; the first of each is not counted"
    res = {k:[] for k in turns}
    for r in range(repeats+1):
        for k,f in turns.items():
            t = time.perf_counter(); f(); t = time.perf_counter()-t
            if r: res[k].append(n[k]/t)
    return res

def run(args, tmp):
    import torch
    from fastai.vision.all import Image, get_image_files
    from colorfast.color import RGBToLab
    from colorfast.data import ColorizeDataLoaders
    from colorfast.images import Bank, CenterResize, clear_cache, open_photo
    torch.set_num_threads(args.threads)
    files = sorted(get_image_files(args.folder or made_up(tmp/'pics')))
    print(f'{len(files)} pictures, {platform.processor() or platform.machine()}, {os.cpu_count()} cores, {args.threads} threads, torch {torch.__version__}\n')
    some,table = files[:300],[]
    for size in map(int, args.sizes.split(',')):
        full = [open_photo(f) for f in some]
        resize = CenterResize(size)
        def fill(): clear_cache(); ColorizeDataLoaders.from_files(files, size=size, bs=args.bs, drop_gray=0)
        stages = {'decode, full size': lambda: [open_photo(f) for f in some],
                  'decode, as large as needed': lambda: [open_photo(f, 2*size) for f in some],
                  'resize': lambda: [resize(o) for o in full],
                  'decode, resize and fill the cache': fill}
        res = rates(stages, {k:len(files) if o is fill else len(some) for k,o in stages.items()}, max(2,args.repeats//2))
        del full
        dls = ColorizeDataLoaders.from_files(files, size=size, bs=args.bs, drop_gray=0)
        dl,n = dls.train,len(dls.train)*dls.bs
        parts,idx = dl._parts(),[torch.tensor(o[:dls.bs]) for o in (torch.randperm(len(dl.dataset)).tolist() for _ in range(20))]
        assert parts is not None
        lab,b = RGBToLab(),dl._gather(parts, idx[0])
        usual = torch.utils.data.DataLoader(Usual([str(o) for o in dl.dataset.items], size), args.bs, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True)
        uncached = ColorizeDataLoaders.from_files(files, size=size, bs=args.bs, drop_gray=0, cache=False).train
        turns = {'copy batches out of the cache': lambda: [dl._gather(parts, i) for i in idx],
                 'bytes to L and ab, by batch': lambda: [lab(b) for _ in range(20)],
                 'whole loader': lambda: [None for _ in dl],
                 'whole loader, cache=False': lambda: [None for _ in uncached],
                 'the usual way, 2 workers': lambda: [None for _ in usual]}
        ns = {k:20*dls.bs if i<2 else n for i,k in enumerate(turns)}
        res.update(rates(turns, ns, args.repeats))
        print(f'{size} px, batches of {dls.bs}' + ' '*14 + 'images/s   (lowest to highest)')
        for k,v in res.items(): print(f'  {k:36} {statistics.median(v):9,.0f}   ({min(v):,.0f} to {max(v):,.0f})')
        print(f"  whole loader against the usual way   {statistics.median([a/b for a,b in zip(res['whole loader'],res['the usual way, 2 workers'])]):9.1f} times\n")
        table.append(dict(size=size, bs=dls.bs, **{k:dict(median=statistics.median(v), all=v) for k,v in res.items()}))
        del usual
    if args.json: Path(args.json).write_text(json.dumps(table, indent=1))

if __name__=='__main__': main()
