"""The picture that the home page opens with: photographs gray, as a colorizer paints them, and as they were.

python bench/home.py FOLDER OUT.jpg [--model photos] [--n 7] [--side 150] [--seed 0]

A random sample of the folder's photographs, chosen by --seed and not by eye; the center square of each."""
import argparse

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder'); p.add_argument('out'); p.add_argument('--model', default='photos'); p.add_argument('--n', type=int, default=7)
    p.add_argument('--side', type=int, default=150); p.add_argument('--seed', type=int, default=0)
    args = p.parse_args()
    import numpy as np
    from PIL import Image, ImageOps
    from fastai.vision.all import get_image_files
    from colorfast.images import to_rgb
    from colorfast.inference import Colorizer
    model,files = Colorizer.load(args.model),sorted(get_image_files(args.folder))
    side,gap,picked = args.side,6,[]
    for i in np.random.RandomState(args.seed).permutation(len(files)):
        im = to_rgb(Image.open(files[i]))
        if np.ptp(np.asarray(im).astype(int), axis=2).mean()>5: picked.append(im) # a gray one says nothing
        if len(picked)==args.n: break
    out = Image.new('RGB', (args.n*(side+gap)-gap, 3*(side+gap)-gap), 'white')
    for c,im in enumerate(picked):
        gray = im.convert('L')
        for r,o in enumerate((gray, model.colorize(gray), im)):
            out.paste(ImageOps.fit(o.convert('RGB'), (side,side)), (c*(side+gap), r*(side+gap)))
    out.save(args.out, quality=85, optimize=True)

if __name__=='__main__': main()
