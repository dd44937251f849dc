"""How bodies are judged: what the page of that name shows, from stored predictions and from one data set.

python bench/judge.py agree ZOO --data voc --classes car,person [--halves 100] --json FILE
python bench/judge.py mislead VOC [--body photos] [--classes car,person] [--sizes 32,48,64,96] [--seeds 3] [--threads 1] --json FILE
python bench/judge.py store JUDGED [JUDGED ...] --json FILE

agree reads what `python bench/zoo.py judge ZOO ...` keeps in ZOO/judged: every body's score by every protocol; how alike
protocols order the bodies, on all test pictures, on two halves of them, and for bodies of other seeds; how far a draw of
low-shot learning, and the best of many, can be trusted. mislead scores one body and random ones under choices that are rarely
mentioned. store puts results.json of several `colorfast judge --out` into one small file."""
import argparse, itertools, json, platform, time, warnings
from pathlib import Path
from zoo import rounded

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest='verb', required=True)
    names = lambda o: o.split(',')
    a = sub.add_parser('agree'); a.add_argument('zoo'); a.add_argument('--data', default='voc'); a.add_argument('--vocab', type=names, help='all classes in order; default: those of Pascal VOC')
    a.add_argument('--classes', type=names, required=True); a.add_argument('--halves', type=int, default=100); a.add_argument('--json', required=True)
    a = sub.add_parser('mislead'); a.add_argument('data'); a.add_argument('--body', default='photos'); a.add_argument('--classes', type=names)
    a.add_argument('--sizes', type=lambda o: [int(v) for v in o.split(',')], default=[32,48,64,96]); a.add_argument('--seeds', type=int, default=3); a.add_argument('--threads', type=int, default=1); a.add_argument('--json', required=True)
    a = sub.add_parser('store'); a.add_argument('judged', nargs='+'); a.add_argument('--json', required=True)
    args = p.parse_args()
    warnings.simplefilter('ignore')
    res = dict(agree=agree, mislead=mislead, store=store)[args.verb](args)
    Path(args.json).parent.mkdir(parents=True, exist_ok=True)
    Path(args.json).write_text(json.dumps(rounded(res), separators=(',',':'))+'\n')

VOC = 'aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,motorbike,person,pottedplant,sheep,sofa,train,tvmonitor'.split(',')

def versions():
    from importlib.metadata import version
    return dict(python=platform.python_version()) | {k:version(k) for k in ('torch','fastai','numpy','scipy','scikit-learn')}

# agree

def agree(args):
    "Scores, rank correlations and their noise"
    import numpy as np
    from zoo import Scored
    vocab = args.vocab or VOC
    at = [vocab.index(o) for o in args.classes]
    kept = {d.name:{f.stem:Scored(np.load(f), at) for f in sorted(d.glob('*.npz'))} for d in sorted(Path(args.zoo, 'judged', args.data).iterdir())}
    kept = {k:kept[k] for k in ('linear','knn','svm','lowshot','stages') if k in kept}
    named = {o:o.removeprefix('small-').rsplit('-', 1) for o in next(iter(kept.values()))}
    named = {o:(k,int(s)) for o,(k,s) in named.items() if not o.startswith(('time','large'))}
    bodies,seeds = list(dict.fromkeys(k for k,_ in named.values())),sorted({s for _,s in named.values()})
    whole = {v:k for k,v in named.items()}
    scores = {p:np.array([[o[whole[b,s]].value for s in seeds] for b in bodies]) for p,o in kept.items()} # (bodies,seeds)
    n,rng = len(next(iter(next(iter(kept.values())).values())).targs),np.random.default_rng(0)
    halves = {p:[] for p in kept} # (halves,2,bodies,seeds)
    for _ in range(args.halves):
        i = rng.permutation(n)
        for p,o in kept.items(): halves[p].append([[[part(o[whole[b,s]], j) for s in seeds] for b in bodies] for j in (i[:n//2],i[n//2:])])
    halves = {p:np.array(o) for p,o in halves.items()}
    res = dict(data=args.data, classes=args.classes, pictures=n, bodies=bodies, seeds=len(seeds), halves=args.halves, scores={p:o.tolist() for p,o in scores.items()})
    res['tau'] = {f'{p}, {q}':correlations(scores, halves, p, q) for p,q in itertools.combinations_with_replacement(kept, 2)}
    plain = [i for i,b in enumerate(bodies) if b!='supervised' and not b.startswith('random')] # what nobody knows the order of
    few,half = {p:o[plain] for p,o in scores.items()},{p:o[:,:,plain] for p,o in halves.items()}
    res['tau_pretexts'] = {f'{p}, {q}':correlations(few, half, p, q) for p,q in itertools.combinations_with_replacement(kept, 2)}
    res['noise'] = {p:noise(o) for p,o in halves.items()}
    res['best'] = {p:optimism(o[:,:,plain]) for p,o in halves.items()}
    if 'lowshot' in kept: res['draws'] = draws(Path(args.zoo, 'judged', args.data, 'lowshot'), named, at)
    return res | dict(versions=versions())

def part(o, i):
    "The score on some of the pictures"
    import numpy as np
    from colorfast.metrics import mean_ap
    return 100*float(np.mean([mean_ap(p[i], o.targs[i]) for p in o.preds]))

def tau(a, b):
    from scipy.stats import kendalltau
    return float(kendalltau(a, b)[0])

def correlations(scores, halves, p, q):
    "Kendall's: of means over seeds; on different halves of the pictures; of bodies of different seeds"
    import numpy as np
    a,b,n = scores[p],scores[q],scores[p].shape[1]
    split = [tau(x[i].mean(1), y[1-i].mean(1)) for x,y in zip(halves[p], halves[q]) for i in (0,1)]
    seeds = [tau(a[:,i], b[:,j]) for i in range(n) for j in range(n) if i!=j]
    return dict(all=tau(a.mean(1), b.mean(1)), halves=float(np.mean(split)), seeds=float(np.mean(seeds)))

def noise(halves):
    "Standard deviation of a body's place among the others, in points, on all pictures: over pictures, and over seeds"
    import numpy as np
    d = halves-halves.mean(2, keepdims=True)
    pictures = (d[:,0]-d[:,1]).mean(2).std(0).mean()/2 # half of the difference of two halves is as noisy as their mean
    return dict(pictures=float(pictures), seeds=float(np.sqrt(d.mean((0,1)).var(1, ddof=1).mean())))

def optimism(halves):
    "The best of all pretraining runs, chosen on one half, scored there and on the other"
    import numpy as np
    flat = halves.reshape(*halves.shape[:2], -1)
    pairs = np.concatenate([flat, flat[:,::-1]]) # (2 halves,2,bodies)
    i = pairs[:,0].argmax(1)
    own,other = [np.take_along_axis(pairs[:,j], i[:,None], 1).mean() for j in (0,1)]
    return dict(runs=flat.shape[2], chosen=float(own), other=float(other), mean=float(flat.mean()))

def draws(path, named, at):
    "Of low-shot learning with k positives: how much the draws differ, a class and the mean of all"
    import numpy as np
    from colorfast.metrics import average_precision
    rows = {}
    for f in named:
        o = np.load(path/f'{f}.npz')
        cols = np.isin(o['pairs'][:,1], at)
        aps,ks = 100*np.stack([average_precision(p, o['targs'][:,cols]) for p in o['preds'][...,cols]]),o['pairs'][cols,0]
        for k in np.unique(ks): rows.setdefault(int(k), []).append((aps[:,ks==k].mean(), aps[:,ks==k].std(0, ddof=1).mean(), aps[:,ks==k].mean(1).std(ddof=1)))
    return {k:dict(zip(('mean','sd_class','sd_mean'), map(float, np.mean(v, 0)))) for k,v in rows.items()}

# mislead

def mislead(args):
    "One number after another, each a choice that is easily made without a word"
    import torch
    from colorfast.data import MultilabelDataLoaders
    from colorfast.transfer import load_body, scratch_body
    torch.set_num_threads(args.threads)
    began,body = time.time(),load_body(args.body)
    loaders = lambda size: MultilabelDataLoaders.from_voc(args.data, size=size, bs=32)
    dls = loaders(64)
    at = [list(dls.vocab).index(o) for o in args.classes or dls.vocab]
    like = lambda color=False: scratch_body(body.arch, body.max_stride, color)
    res = dict(data=Path(args.data).name, body=args.body, classes=args.classes, pictures=[len(o.dataset) for o in dls.loaders], seeds=args.seeds)
    x = read(body, dls)
    res['scale'],res['knn'] = scales(x, at),neighbors(x, at)
    res['mode'] = dict(eval=ap(x, at), **{f'train_{o}':ap(read(body, dls, mode=o), at) for o in ('sorted','shuffled')})
    res['stages'] = stages(body, dls, at)
    print('judge  64 px', time.time()-began, flush=True)
    every = {}
    for size in args.sizes:
        d = dls if size==64 else loaders(size)
        every[size] = dict(body=ap(x if size==64 else read(body, d), at), random=[ap(read(like(), d, seed=s), at) for s in range(args.seeds)])
        print('judge ', size, every[size], time.time()-began, flush=True)
    res['size'] = every
    res['color'] = dict(random=[ap(read(like(True), dls, seed=s), at) for s in range(args.seeds)], body=ap(read(load_body(args.body, color=True), dls), at))
    return res | dict(versions=versions(), seconds=round(time.time()-began))

def read(arch, dls, seed=0, mode=None, **kw):
    "Features and labels of training, validation and test pictures; `mode` leaves batch norm alive, in order or shuffled"
    import numpy as np, torch
    from fastai.vision.all import no_random
    from colorfast.transfer import features, rgb_body
    net = rgb_body(arch, seed=seed)
    if mode is None: return [features(net, dls, i, **kw) for i in range(3)]
    res = []
    for i in range(3):
        with no_random(0), torch.no_grad():
            net.train()
            dl = dls.plain(i) if mode=='sorted' else dls.plain(i).new(shuffle=True)
            rows = [(net(x.as_subclass(torch.Tensor)).mean((2,3)).numpy(), y.as_subclass(torch.Tensor).numpy()) for x,y in dl]
        res.append(tuple(np.concatenate(o) for o in zip(*rows)))
    return res

def ap(data, at, split=2, probe=None):
    "Mean average precision in percent of a probe, by default the linear one"
    from colorfast.metrics import mean_ap
    from colorfast.protocols import LinearProbe
    (x,y),(vx,vy) = data[0],data[split]
    return 100*mean_ap((probe or LinearProbe()).answers(x, y, vx)[:,at], vy[:,at])

def scales(data, at):
    "Features that a factor makes larger or smaller, which a next layer would undo: one penalty, and standardized"
    from colorfast.protocols import LinearProbe
    class Raw(LinearProbe):
        def scaled(self, x, vx): return x,vx
    times = lambda f: [(f*x,y) for x,y in data]
    return {str(f):dict(raw=ap(times(f), at, probe=Raw(penalties=1.)), chosen=ap(times(f), at, probe=Raw()), standardized=ap(times(f), at)) for f in (.01,.1,1,10,100)}

def neighbors(data, at):
    "The best of 35 settings of the nearest neighbors, chosen on validation or on test pictures"
    from colorfast.protocols import NearestProbe
    rows = [[ap(data, at, i, NearestProbe(k=k, temp=t)) for i in (1,2)] for k in (1,5,10,20,50,100,200) for t in (.02,.05,.07,.1,.3)]
    return dict(settings=len(rows), on_test=max(o[1] for o in rows), on_validation=max(rows)[1], worst=min(o[1] for o in rows), default=ap(data, at, 2, NearestProbe()))

def stages(body, dls, at):
    "The linear probe of each stage on validation and test pictures"
    from colorfast.protocols import StagesProbe
    from colorfast.transfer import rgb_body
    net = rgb_body(body)
    return [[ap(data, at, i) for i in (1,2)] for data in (read(net, dls, layer=l, pool=p) for l,p in StagesProbe().wants(net, dls))]

# store

def store(args):
    "One table of several"
    res = dict(runs=[], table=[], scores={}, protocols={})
    for o in args.judged:
        r = json.loads(Path(o, 'results.json').read_text())
        res['runs'].append({k:r[k] for k in ('command','data','difficult','splits','split','size','seeds','pictures','classes','bodies','environment')})
        res['table'] += r['table']
        res['scores'] |= {p:{b:[{k:100*v for k,v in s.items()} for s in rows] for b,rows in bodies.items()} for p,bodies in r['scores'].items()}
        res['protocols'] |= {k:p|dict(settings={n:v for n,v in p['settings'].items() if n not in ('costs','penalties')}) for k,p in r['protocols'].items()}
    return res

if __name__=='__main__': main()
