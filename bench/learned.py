"""What can be seen in the shipped body, on photographs: neighbors, channels, class maps, covered skies. Beside it random bodies.

python bench/learned.py neighbors PHOTOS --out nbs/tutorials/learned [--labels FILE]
python bench/learned.py channels PHOTOS --out nbs/tutorials/learned [--labels FILE] [--n 3000]
python bench/learned.py maps VOC --out nbs/tutorials/learned
python bench/learned.py covers PHOTOS --out nbs/tutorials/learned [--n 4000]

PHOTOS is a folder of photographs of 64 px that no training saw, such as Tiny ImageNet's val/images; --labels a text file with a
name and a class on each line, such as its val_annotations.txt. VOC is a folder in Pascal VOC's layout. Each verb adds its part
to OUT/scores.json and draws its figure, OUT/VERB.webp. What is drawn is a random sample by --seed, or channels at equal steps.
Photographs of a mean chroma below 1 are left out. Intervals are bootstraps over photographs, or over channels, as said there."""
import argparse, json, time, warnings
from pathlib import Path

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('verb', choices=('neighbors','channels','maps','covers')); p.add_argument('data'); p.add_argument('--out', required=True)
    p.add_argument('--labels'); p.add_argument('--body', default='photos'); p.add_argument('--n', type=int); p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--seed', type=int, default=0); p.add_argument('--threads', type=int, default=1)
    args = p.parse_args()
    warnings.simplefilter('ignore')
    import torch
    torch.set_num_threads(args.threads)
    began,out = time.time(),Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    fn = out/'scores.json'
    verbs = dict(neighbors=neighbors, channels=channels, maps=class_maps, covers=covers)
    part = verbs[args.verb](args, out)|dict(seconds=round(time.time()-began), threads=args.threads)
    from zoo import rounded
    res = (json.loads(fn.read_text()) if fn.exists() else {})|{args.verb:part} # as it is now: verbs may run beside each other
    fn.write_text(json.dumps(rounded(res, 5), indent=1)+'\n')
    print(json.dumps(rounded(res[args.verb], 5)))

def bodies(args):
    "The shipped one, and random ones of the same form"
    from colorfast.transfer import load_body, rgb_body, scratch_body
    body = load_body(args.body)
    blank = scratch_body(body.arch, body.max_stride)
    return {'shipped':rgb_body(body)} | {f'random {i}':rgb_body(blank, seed=i) for i in range(args.seeds)}

def photographs(args, early=False):
    "RGB `(n,3,64,64)`, their ab in units of a* and b*, and classes"
    import numpy as np, torch
    from PIL import Image
    from fastai.vision.all import get_image_files
    from colorfast.color import AB_SCALE, rgb2l_ab
    from colorfast.images import to_rgb
    files = sorted(get_image_files(args.data), key=lambda f: f.name)
    if early and args.n: files = [files[i] for i in np.random.RandomState(args.seed).permutation(len(files))[:args.n]] # those without color go later
    names = dict(o.split()[:2] for o in Path(args.labels).read_text().splitlines()) if args.labels else {}
    x = torch.stack([torch.from_numpy(np.asarray(to_rgb(Image.open(f)))) for f in files]).permute(0,3,1,2)
    ab = torch.cat([AB_SCALE*rgb2l_ab(o/255)[1].as_subclass(torch.Tensor) for o in x.split(256)])
    keep = ab.norm(dim=1).mean((1,2))>=1
    vocab = sorted(set(names.values()))
    y = torch.tensor([vocab.index(names[f.name]) for f in files]) if names else None
    x,ab,y = x[keep]/255,ab[keep],None if y is None else y[keep]
    if args.n and args.n<len(x):
        i = torch.from_numpy(np.random.RandomState(args.seed).permutation(len(x))[:args.n])
        x,ab,y = x[i],ab[i],None if y is None else y[i]
    return x,ab,y

def lightness(x):
    "L `(n,1,h,w)` of RGB, some at a time"
    import torch
    from colorfast.color import rgb2l
    return torch.cat([rgb2l(o).as_subclass(torch.Tensor) for o in x.split(256)])

def ci(*v, **kw):
    from colorfast.metrics import bootstrap_ci
    return bootstrap_ci(*v, n=1000, **kw)

# neighbors

def neighbors(args, out):
    "Do the five nearest have the query's class, and its mean color? The random bodies' answers are averaged photograph by photograph"
    import torch, torch.nn.functional as F
    from colorfast.interpret import layer_maps, nearest_neighbors
    x,ab,y = photographs(args)
    color = ab.mean((2,3))
    mean = lambda m: m.mean((2,3))
    near = {k:nearest_neighbors(layer_maps(net, x, pool=mean)) for k,net in bodies(args).items()}
    l = lightness(x)
    near['pixels'] = nearest_neighbors(l)
    near['pixels, 8 by 8'] = nearest_neighbors(F.avg_pool2d(l, 8))
    same = {k:(y[n]==y[:,None]).float().mean(1) for k,n in near.items()}
    away = {k:(color[n]-color[:,None]).norm(dim=2).mean(1) for k,n in near.items()}
    rows = {}
    for what,o in dict(same_class=same, color_distance=away).items():
        o['random'] = torch.stack([o.pop(f'random {i}') for i in range(args.seeds)]).mean(0)
        rows[what] = {k:ci(v.numpy()) for k,v in o.items()}
        rows[what+'_gain'] = {k:ci((o['shipped']-v).numpy()) for k,v in o.items() if k!='shipped'}
    counts = torch.bincount(y).float()
    d = torch.cdist(color, color)
    chance = dict(same_class=((counts*(counts-1)).sum()/len(y)/(len(y)-1)).item(), color_distance=(d.sum()/len(d)/(len(d)-1)).item())
    pick = torch.randperm(len(x), generator=torch.Generator().manual_seed(args.seed))[:5]
    shown = {k:[[i.item(),*near[k][i].tolist()] for i in pick] for k in ('shipped','random 0','pixels')}
    draw_neighbors(x, shown, out/'neighbors.webp')
    return dict(pictures=len(x), classes=len(counts), neighbors=5, seeds=args.seeds, chance=chance, **rows)

def draw_neighbors(x, shown, fn):
    "A query a row, and its five nearest, in gray and in color, for each body"
    rows,gap,tile = next(iter(shown.values())),4,64
    blocks = list(shown.values())
    width = sum(len(b[0])*tile+3*gap for b in blocks)-2*gap
    im = canvas(len(rows)*(2*tile+3*gap)-3*gap, width)
    for r in range(len(rows)):
        left = 0
        for b in blocks:
            for j,i in enumerate(b[r]):
                top = r*(2*tile+3*gap)
                put(im, gray(x[i]), top, left)
                put(im, x[i], top+tile, left)
                left += tile+(gap if j==0 else 0)
            left += 2*gap
    save(im, fn, 70)

def canvas(h, w):
    import torch
    return torch.ones(3, h, w)

def put(im, x, top, left): im[:,top:top+x.shape[1],left:left+x.shape[2]] = x.clamp(0,1)

def gray(x):
    from colorfast.color import l_ab2rgb, rgb2l
    import torch
    l = rgb2l(x[None])
    return l_ab2rgb(l, l.new_zeros(1,2,*l.shape[2:])).as_subclass(torch.Tensor)[0]

def save(im, fn, quality=80):
    from PIL import Image
    Image.fromarray(im.permute(1,2,0).mul(255).round().byte().numpy()).save(fn, quality=quality, method=6)
    print(fn.name, fn.stat().st_size)

# channels

def channels(args, out):
    "What the strongest patches of a channel have in common, at the end of each stage"
    import torch
    from colorfast.interpret import Places, cut_patches, receptive_field, top_places
    import torch.nn.functional as F
    x,ab,y = photographs(args, early=True)
    l = lightness(x)
    lab,n,res,nets = torch.cat([50*(l+1),ab],1),9,{},bodies(args)
    g = torch.Generator().manual_seed(args.seed)
    for layer,name in ((1,'middle'),(2,'last')):
        sides = {k:[receptive_field(net, F.interpolate(x[:64], 128), layer, share=s) for s in (.5,.9)] for k,net in nets.items()}
        side = min(sides['shipped'][0], 64)
        got = {k:top_places(net, x, n, layer) for k,net in nets.items()}
        m = len(got['shipped'].picture)
        at = lambda most: torch.randint(0, most, (m,n), generator=g)
        got['drawn at random'] = Places(torch.stack([torch.randperm(len(x), generator=g)[:n] for _ in range(m)]), at(64), at(64), torch.zeros(m,n))
        rows = {k:measured(lab, y, o, side) for k,o in got.items()}
        res[name] = dict(layer=layer, channels=m, side=side, receptive_field={k:dict(zip(('half','nine_tenths'), v)) for k,v in sides.items()}, **{
            what:{k:o[what] for k,o in rows.items()} for what in ('color','lightness','same_class')})
        every = m//6
        drawn = {k:cut_patches(x, Places(*(o[::every][:6] for o in got[k])), side) for k in ('shipped','random 0')}
        res[name]['drawn'] = list(range(0, m, every))[:6]
    draw_channels(drawn, out/'channels.webp') # of the last stage
    return dict(pictures=len(x), patches=n, seeds=args.seeds, stages=res)

def measured(lab, y, places, side):
    "Correlation within channels of true color and lightness, and the share of pairs of one class, with intervals over channels"
    import torch
    from colorfast.interpret import cut_patches, intraclass_correlation
    mean = torch.cat([cut_patches(lab, type(places)(*(o[i:i+8] for o in places)), side).mean((3,4)) for i in range(0, len(places.row), 8)])
    c = y[places.picture]
    n = c.shape[1]
    pairs = ((c[:,:,None]==c[:,None]).float().sum((1,2))-n)/(n*(n-1))
    icc = lambda v: intraclass_correlation(torch.as_tensor(v))
    return dict(color=ci(mean[...,1:].numpy(), stat=icc), lightness=ci(mean[...,:1].numpy(), stat=icc), same_class=ci(pairs.numpy()))

def draw_channels(drawn, fn):
    "A channel a row: its nine strongest patches as the body sees them and in color, of the shipped body at the left, of a random one at the right"
    import torch.nn.functional as F
    gap,tile = 4,56
    a = next(iter(drawn.values()))
    rows,n = a.shape[:2]
    im = canvas(rows*(2*tile+2*gap)-2*gap, 2*n*tile+3*gap)
    for b,p in enumerate(drawn.values()):
        p = F.interpolate(p.flatten(0,1), (tile,tile), mode='bilinear', align_corners=False, antialias=True).reshape(rows,n,3,tile,tile)
        for r in range(rows):
            for j in range(n):
                top,left = r*(2*tile+2*gap),b*(n*tile+3*gap)+j*tile
                put(im, gray(p[r,j]), top, left)
                put(im, p[r,j], top+tile, left)
    save(im, fn)

# maps

def class_maps(args, out):
    "Do the class maps of a linear probe point at the things? On the test split, every class that a picture shows"
    import numpy as np, torch
    from colorfast.data import DetectDataLoaders, MultilabelDataLoaders
    from colorfast.interpret import ClassMaps, pointing_game
    dls = MultilabelDataLoaders.from_voc(args.data, size=64, bs=64, method='crop')
    ddls = DetectDataLoaders.from_voc(args.data, size=64, bs=64, method='crop', vocab=list(dls.vocab))
    test = dls.plain(2)
    pictures,things = [list(map(Path, o.dataset.items)) for o in (test, ddls.plain(2))]
    x = torch.cat([o[0].as_subclass(torch.Tensor) for o in test])
    masks = {}
    at = {f:i for i,f in enumerate(pictures)}
    j = 0
    for _,boxes in ddls.plain(2):
        for o in boxes.as_subclass(torch.Tensor):
            for b in o:
                add_box(masks, at.get(things[j]), b)
            j += 1
    keys = sorted(masks)
    m = torch.stack([masks[k] for k in keys])
    i,c = torch.tensor(keys).T
    area = m.float().mean((1,2))
    usable = (area>0)&(area<.9)
    i,c,m,area = i[usable],c[usable],m[usable],area[usable]
    rows,tops,kept,g = {},{},{},np.random.RandomState(args.seed)
    other = torch.from_numpy(g.randint(1, len(dls.vocab), len(c)))
    for k,net in bodies(args).items():
        maps = ClassMaps(net, dls)(x)
        kept[k] = maps
        rows[k],tops[k] = pointing_game(maps[i,c], m),pointing_game(maps[i,c], m, .1)
        wrong = (c+other)%len(dls.vocab)
        rows[k+', another class'] = pointing_game(maps[i,wrong], m)
        tops[k+', another class'] = pointing_game(maps[i,wrong], m, .1)
    grid = torch.arange(64)-31.5
    bump = -(grid[:,None]**2+grid[None]**2)
    best = bump.flatten().topk(round(.1*64*64)).indices
    rows['the middle'] = m[:,30:34,30:34].float().mean((1,2)).round()
    tops['the middle'] = m.flatten(1)[:,best].float().mean(1)
    rows['blindly'] = tops['blindly'] = area
    res = {}
    for what,o in dict(highest=rows, top_tenth=tops).items():
        for s in ('',', another class'):
            o['random'+s] = torch.stack([o.pop(f'random {q}'+s) for q in range(args.seeds)]).mean(0)
        by = lambda v: torch.zeros(len(x)).index_add_(0, i, v)[torch.bincount(i, minlength=len(x))>0].numpy() # a sum a picture
        n = by(torch.ones(len(i)))
        ratio = lambda a,b: a.sum()/b.sum()
        res[what] = {k:ci(by(v), n, stat=ratio) for k,v in o.items()}
        res[what+'_gain'] = {k:ci(by(o['shipped']-v), n, stat=ratio) for k,v in o.items() if k!='shipped'}
    frequent = [k for k in range(len(dls.vocab)) if (train_labels(dls)[:,k].sum()>=16) and (c==k).sum()>=28]
    res['classes_apart'] = {str(dls.vocab[k]):dict(things=int((c==k).sum()))|{b:{w:o[w][c==k].mean().item() for w in ('shipped','random','the middle','blindly')} for b,o in dict(highest=rows, top_tenth=tops).items()} for k in frequent}
    pick = torch.randperm(len(i), generator=torch.Generator().manual_seed(args.seed))
    seen,chosen = set(),[]
    for q in pick.tolist():
        if i[q].item() in seen or c[q] not in frequent or not .05<area[q]<.5: continue
        seen.add(i[q].item()); chosen.append(q)
        if len(chosen)==8: break
    draw_maps(x, kept, i, c, m, chosen, dls.vocab, out/'maps.webp')
    return dict(pictures=len(set(i.tolist())), things=len(i), train=len(dls.train_ds), classes=len(dls.vocab), seeds=args.seeds,
                area=area.mean().item(), shown=[str(dls.vocab[c[q]]) for q in chosen], **res)

def train_labels(dls):
    "0 and 1, `(n,classes)`"
    import torch
    return torch.cat([o[1].as_subclass(torch.Tensor).clamp_min(0) for o in dls.plain(0)])

def add_box(masks, i, b):
    "A box of a class of a picture onto its mask; coordinates as the loaders have them"
    import torch
    cls = int(b[4])
    if cls<0 or i is None: return
    x0,y0,x1,y1 = (64*o for o in b[:4].tolist())
    a,bb,cc,d = round(max(0,x0)),round(max(0,y0)),round(min(64,x1)),round(min(64,y1))
    masks.setdefault((i,cls), torch.zeros(64,64, dtype=torch.bool))[bb:d,a:cc] = True

def draw_maps(x, kept, i, c, m, chosen, vocab, fn):
    "Columns of pictures, rows: gray with the box, the map of the shipped body, that of a random one"
    from matplotlib import pyplot as plt
    from colorfast.interpret import enlarge_maps
    fig,axs = plt.subplots(4, len(chosen), figsize=(1.25*len(chosen),5.3), layout='constrained', dpi=100)
    for col,q in zip(axs.T, chosen):
        k,name = i[q],str(vocab[c[q]])
        col[0].imshow(x[k].permute(1,2,0).clamp(0,1)); col[0].set_title(name, fontsize=9)
        col[1].imshow(gray(x[k]).permute(1,2,0).clamp(0,1))
        for ax,b in zip(col[2:], ('shipped','random 0')):
            big = enlarge_maps(kept[b][k,c[q]][None], (64,64))[0]
            ax.imshow(gray(x[k]).permute(1,2,0).clamp(0,1)); ax.imshow(big, cmap='magma', alpha=.65)
            y,xx = divmod(big.argmax().item(), 64)
            ax.plot(xx, y, 'o', mfc='none', mec='c', ms=9, mew=2)
        for ax in col:
            ax.set(xticks=[], yticks=[], frame_on=False)
            ax.contour(m[q], levels=[.5], colors='w', linewidths=1.2)
    for ax,n in zip(axs[:,0], ('photograph','as seen','shipped','random')): ax.set_ylabel(n, fontsize=9)
    import io
    from PIL import Image
    png = io.BytesIO()
    fig.savefig(png)
    im = Image.open(png).convert('RGB')
    im.save(fn, quality=80, method=6)
    print(fn.name, fn.stat().st_size)

# covers

SIDES = 8,16,24,32 # of squares, px
BLUE = -12 # mean b* of an upper half that counts as blue

def covers(args, out):
    "Color at the middle of the upper half, as a square over it grows, in photographs whose upper half is truly blue and in the others"
    import torch
    from colorfast.color import AB_SCALE
    from colorfast.inference import Colorizer
    from colorfast.interpret import change_by_distance, cover
    model = Colorizer.load(args.body)
    x,ab,_ = photographs(args)
    l = lightness(x)
    paint = lambda l: AB_SCALE*torch.cat([model.predict(o).as_subclass(torch.Tensor).cpu() for o in l.split(128)])
    middle = lambda o: o[:,:,12:20,28:36].mean((2,3)) # what is left of a square of any side
    box = lambda s: (16-s//2, 32-s//2, 16+s//2, 32+s//2)
    blue = ab[:,1,:32].mean((1,2))<BLUE
    g = torch.Generator().manual_seed(args.seed)
    strange = l[torch.randperm(len(l), generator=g)]
    whole = paint(l)
    shown = {'nothing':middle(whole), 'truth':middle(ab)}
    reach = {}
    for s in SIDES:
        for how,fill in dict(gray=0., texture=strange).items():
            after = paint(cover(l, box(s), fill))
            shown[f'{how} {s}'] = middle(after)
            reach[f'{how} {s}'] = change_by_distance(whole, after, box(s))
    shown['upper half, gray'] = middle(paint(cover(l, (0,0,32,64), 0.)))
    outside = torch.ones(64,64, dtype=torch.bool)
    outside[0:32,16:48] = False
    shown['all but 32'] = middle(paint(cover(l, outside, 0.)))
    upside = paint(l.flip(2)).flip(2)
    shown['upside down'] = middle(upside)
    shown['all gray'] = middle(paint(torch.zeros_like(l[:1]))).expand(len(l), 2)
    res = {k:dict(blue=ci(v[blue,1].numpy()), others=ci(v[~blue,1].numpy()), apart=gap(v, blue), follows=follows(v, shown['nothing'])) for k,v in shown.items()}
    d = {k:[round(o,3) for o in v.mean(0).tolist()] for k,v in reach.items()}
    draw_covers(l, x, strange, paint, box, blue, out/'covers.webp', args.seed)
    return dict(pictures=len(x), blue=int(blue.sum()), threshold=BLUE, sides=SIDES, b=res, change=d)

def gap(v, blue):
    "Mean b* of the blue ones less that of the others, with an interval over photographs"
    return ci(v[:,1].numpy(), blue.numpy(), stat=lambda v,b: v[b].mean()-v[~b].mean())

def follows(v, before):
    "Correlation of b* at the middle with b* there when nothing is covered, with an interval over photographs"
    import numpy as np
    if v[:,1].std()<1e-3: return None # one color everywhere
    return ci(v[:,1].numpy(), before[:,1].numpy(), stat=lambda a,b: np.corrcoef(a,b)[0,1])

def draw_covers(l, x, strange, paint, box, blue, fn, seed):
    "Six photographs with a blue upper half, then four others, a column each, in rows: true, painted, under squares of gray and of another photograph, upside down"
    import torch
    from colorfast.color import AB_SCALE, l_ab2rgb
    from colorfast.interpret import cover
    g = torch.Generator().manual_seed(seed)
    some = lambda m,n: m.nonzero()[:,0][torch.randperm(int(m.sum()), generator=g)[:n]]
    pick = torch.cat([some(blue, 6), some(~blue, 4)])
    l,strange = l[pick],strange[pick]
    rgb = lambda l: l_ab2rgb(l, paint(l)/AB_SCALE).as_subclass(torch.Tensor)
    seen = lambda l: torch.stack([gray(l_ab2rgb(o[None], o.new_zeros(1,2,64,64)).as_subclass(torch.Tensor)[0]) for o in l])
    gray16,gray32,other16 = cover(l, box(16), 0.),cover(l, box(32), 0.),cover(l, box(16), strange)
    rows = [x[pick],rgb(l),seen(gray16),rgb(gray16),seen(gray32),rgb(gray32),seen(other16),rgb(other16),rgb(l.flip(2))]
    im = canvas(len(rows)*68-4, len(pick)*68-4+10)
    for r,row in enumerate(rows):
        for j,o in enumerate(row): put(im, o, r*68, j*68+(10 if j>=6 else 0))
    save(im, fn, 85)

if __name__=='__main__': main()
