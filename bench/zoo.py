"""Which task teaches most? Every pretext on the same body and photographs, then every body before the same judges.

python bench/zoo.py pretrain DATA --out OUT [--budget small|time|large] [--seeds 0,1,2] [--methods a,b] [--threads 1]
python bench/zoo.py judge OUT --data NAME=FOLDER [NAME=FOLDER ...] [--classes NAME=a,b ...] [--protocols linear,lowshot] [--match '-0$'] [--json FILE]
python bench/zoo.py steps [FOLDER] [--batches 10] [--repeats 5] [--threads 1] [--json FILE]

DATA is a folder of photographs without labels; the study has 100 of each class of Tiny ImageNet, 20,000 in all. Each method
trains resnet18 up to stride 8 at 64 px with batches of 32, one cycle and an average of the weights; --budget small
shows every photograph once, large five times; time shows each method as many as it takes for about as long as a small run
of the slower ones (bins, hypercolumn and byol, whose small runs count there, too). OUT/BUDGET/METHOD-SEED holds a run; one that is there is not done again, one
that was interrupted goes on. judge reads every body in OUT, scores it on the test photographs of each data set by each
protocol, with random bodies of the same network and input beside them (split-brain's sees color), and keeps each score as
soon as it is there; a body that changed is scored again. steps times a training step of each method
in turns with the conditional GAN's, as it comes (stride 1) and as here (stride 4); without FOLDER on made-up pictures. Seconds are those of the last call for a run that went on."""
import argparse, itertools, json, math, re, statistics, tempfile, time, warnings
from pathlib import Path

BASE = dict(arch='resnet18', size=64, bs=32, lr=2e-3, mom=.9, ema=.99, valid_pct=.02)
METHODS = dict( # name to settings of `colorfast pretrain`
    regression=dict(pretext='regression', loss='log_mse', stride=4),
    l1=dict(pretext='regression', loss='l1', stride=4, mom=.5), # cgan but for the critic
    cgan=dict(pretext='cgan', loss='l1', lambda_l1=400, critic_layers=2, stride=4, mom=.5, lr=[2e-3,4e-4]),
    bins=dict(pretext='bins'),
    bins_plain=dict(pretext='bins', pretext_kw=dict(rebalance=False)),
    hypercolumn=dict(pretext='hypercolumn'),
    splitbrain=dict(pretext='splitbrain'),
    splitbrain_regression=dict(pretext='splitbrain', pretext_kw=dict(ab='regression', l='regression')),
    rotation=dict(pretext='rotation', pretext_kw=dict(share=1.)),
    autoencoder=dict(pretext='autoencoder'),
    simclr=dict(pretext='simclr'),
    byol=dict(pretext='byol'))
EPOCHS = dict(small=1, time=1, large=5)
TIME = dict(regression=2, l1=2, cgan=2, splitbrain=3, splitbrain_regression=3, autoencoder=1.4, simclr=1.25, rotation=.65) # epochs: small runs took 107 to 474 s, the three slower ones 260 to 309
RANDOM = dict(random='resnet18', random_split='split/resnet18') # what each method's body is held against
HALVES = 'l','ab' # a split body counts three times: whole, and what saw L, and what saw ab
ORDERS = { # what was published or is claimed, as pairs: is the first one's body better?
    'classes beat regression, L to ab (Zhang 2017)':('bins_plain','regression'),
    'regression beats classes, ab to L (Zhang 2017)':('splitbrain_regression_ab','splitbrain_ab'),
    'split-brain of classes beats one of regression':('splitbrain','splitbrain_regression'),
    'split-brain beats its half that sees L (Zhang 2017)':('splitbrain','splitbrain_l'),
    'split-brain beats its half that sees ab (Zhang 2017)':('splitbrain','splitbrain_ab'),
    'the half that sees L beats an autoencoder (Zhang 2017)':('splitbrain_l','autoencoder'),
    'without rebalancing at least as good as with (Zhang 2017)':('bins_plain','bins'),
    'the critic helps the body (Treneska 2022)':('cgan','l1'),
    'cgan beats bins, rebalanced (Treneska 2022)':('cgan','bins'),
    'cgan beats bins, not rebalanced':('cgan','bins_plain'),
    'cgan beats hypercolumn (Treneska 2022)':('cgan','hypercolumn'),
    'cgan beats split-brain (Treneska 2022)':('cgan','splitbrain'),
    'color beats rotation':('bins_plain','rotation'),
    'color beats simclr':('bins_plain','simclr'),
    'labels beat color':('supervised','bins_plain')}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest='verb', required=True)
    a = sub.add_parser('pretrain'); a.add_argument('data'); a.add_argument('--out', required=True); a.add_argument('--budget', choices=EPOCHS, default='small')
    a.add_argument('--seeds', default='0,1,2'); a.add_argument('--methods', default=','.join(METHODS)); a.add_argument('--threads', type=int, default=1)
    a = sub.add_parser('judge'); a.add_argument('out'); a.add_argument('--data', nargs='+', required=True); a.add_argument('--classes', nargs='*', default=[])
    a.add_argument('--protocols', default='linear'); a.add_argument('--match', default='', help='judge the bodies whose name has this regular expression'); a.add_argument('--threads', type=int, default=1); a.add_argument('--json', required=True)
    a = sub.add_parser('steps'); a.add_argument('data', nargs='?'); a.add_argument('--batches', type=int, default=10); a.add_argument('--repeats', type=int, default=5)
    a.add_argument('--threads', type=int, default=1); a.add_argument('--json')
    args = p.parse_args()
    warnings.simplefilter('ignore')
    import torch
    torch.set_num_threads(args.threads)
    dict(pretrain=pretrain, judge=judge, steps=steps)[args.verb](args)

def pretrain(args):
    "One run after another, seeds first, so that what is there is complete"
    from colorfast.study import get_preset, run_pretrain
    for seed,name in itertools.product(map(int, args.seeds.split(',')), args.methods.split(',')):
        out = Path(args.out)/args.budget/f'{name}-{seed}'
        if (out/'results.json').exists(): continue
        if args.budget=='time' and name not in TIME: continue
        cfg = get_preset('demo', **BASE|METHODS[name]|shown(args.budget, name))
        began = time.time()
        run_pretrain(args.data, out, cfg, seed=seed, resume=(out/'checkpoint.pth').exists())
        print(f'zoo  {out.name}  {time.time()-began:.0f} s', flush=True)

def shown(budget, name):
    "Epochs, and which share of the photographs is kept out of training so that they make a part of an epoch"
    n = TIME[name] if budget=='time' else EPOCHS[budget]
    epochs = math.ceil(n)
    return dict(epochs=epochs, valid_pct=1-(1-BASE['valid_pct'])*n/epochs)

def judge(args):
    "Every body by every protocol on every data set, a file a score, so that it can go on; then the table"
    import numpy as np
    from colorfast.data import MultilabelDataLoaders, source_dls
    from colorfast.files import file_sha256, weights_file
    from colorfast.protocols import get_protocol
    from colorfast.transfer import load_body, scratch_body
    files = {f'{b}/{d.name}':weights_file(d, ('body','colorizer')) for b in EPOCHS for d in sorted((Path(args.out)/b).glob('*-*'))}
    todo = {k:f for k,f in files.items() if f.exists()}
    vocab = {}
    classes = {k:v.split(',') for k,v in (o.split('=', 1) for o in args.classes)}
    for name,folder in (o.split('=', 1) for o in args.data):
        dls = source_dls(MultilabelDataLoaders, folder, size=BASE['size'], bs=64)
        unknown = set(classes.get(name, []))-set(dls.vocab)
        if unknown: raise SystemExit(f'zoo: {folder} has no classes {sorted(unknown)}')
        vocab[name] = list(dls.vocab)
        keys = [f'{r}-{o}' for r in RANDOM for o in range(3)]+list(todo)
        halves = {f"{o.rsplit('-', 1)[0]}_{h}-{o.rsplit('-', 1)[1]}":(o,h) for o in keys if 'split' in o for h in HALVES}
        keys = [o for o in keys+list(halves) if re.search(args.match, o)]
        for p,key in itertools.product(args.protocols.split(','), keys):
            fn = Path(args.out)/'judged'/name/p/f"{key.replace('/','-')}.npz"
            whole,half = halves.get(key, (key,None))
            sha = file_sha256(todo[whole]) if whole in todo else ''
            if fn.exists() and str(np.load(fn)['sha'])==sha: continue
            began,(kind,seed) = time.time(),whole.rsplit('-', 1)
            arch = load_body(todo[whole]) if whole in todo else scratch_body(RANDOM[kind], 8)
            if half: arch = half_of(arch, half, int(seed))
            scores,arrays = get_protocol(p, split=2)(arch, dls, seed=int(seed))
            fn.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(fn, score=next(iter(scores.values())), sha=sha, **{k:v for k,v in arrays.items() if k in ('preds','targs','pairs')})
            print(f"zoo  {name} {p} {key}  {100*next(iter(scores.values())):.1f}  {time.time()-began:.0f} s", flush=True)
    Path(args.json).write_text(json.dumps(rounded(table(Path(args.out), vocab, classes)), indent=1))

def rounded(o, n=3):
    "Floats of `n` places: three are more than any of these scores is worth"
    if isinstance(o, dict): return {k:rounded(v, n) for k,v in o.items()}
    if isinstance(o, (list,tuple)): return [rounded(v, n) for v in o]
    return round(o, n) if isinstance(o, float) else o

def half_of(arch, half, seed):
    "RGB to the features of one half of a split body"
    from fastai.vision.all import no_random
    from colorfast.splitbrain import split_halves
    from colorfast.transfer import rgb_body
    with no_random(seed): return rgb_body(split_halves(arch.layers(arch.weights is not None))[half])

def table(out, vocab, classes):
    "Of each data set, protocol and method: the mean over seeds, and the gain over random bodies; then the orderings"
    import numpy as np
    res = dict(runs=runs(out), scores=[], orders=[])
    for d in sorted(o for k in vocab for o in out.glob(f'judged/{k}/*')):
        at = [vocab[d.parent.name].index(o) for o in classes.get(d.parent.name) or vocab[d.parent.name]]
        rows = {}
        for f in sorted(d.glob('*.npz')):
            k,seed = f.stem.rsplit('-', 1)
            rows.setdefault(k, {})[seed] = Scored(np.load(f), at)
        where = dict(data=d.parent.name, protocol=d.name)
        for m,mine in rows.items():
            vals = [o.value for o in mine.values()]
            row = where | dict(method=m, seeds=len(vals), values=vals, mean=float(np.mean(vals)))
            base = rows.get(base_of(m))
            res['scores'].append(row | (gain(mine, base) if base and not m.startswith('random') else {}))
        for b,(text,(m,o)) in itertools.product(EPOCHS, ORDERS.items()):
            mine,other = counted(rows, b, m),counted(rows, b, o)
            if mine and other and (b=='small' or mine is not rows.get(f'small-{m}') or other is not rows.get(f'small-{o}')):
                if row := gain(mine, other): res['orders'].append(where | dict(budget=b, claim=text, first=m, second=o) | row)
    return res

def counted(rows, budget, name):
    "The bodies of a method at a budget: for equal time the small runs of the slower ones, too"
    whole = name.removesuffix('_l').removesuffix('_ab')
    return rows.get(f'small-{name}' if budget=='time' and whole not in TIME else f'{budget}-{name}')

def base_of(name):
    "The random bodies that see what this one sees"
    kind = next((f'_{h}' for h in HALVES if name.endswith(f'_{h}')), '')
    return f'random_split{kind}' if 'splitbrain' in name else 'random'

class Scored:
    "What a protocol said of a body: predictions `(draws,pictures,columns)` and labels of the classes that count, or a score"
    def __init__(self, o, at):
        import numpy as np
        from colorfast.metrics import mean_ap
        self.preds = self.targs = None
        if 'preds' in o:
            cols = np.isin(o['pairs'][:,1], at) if 'pairs' in o else at
            p = o['preds'][...,cols]
            self.preds,self.targs = p if p.ndim==3 else p[None],o['targs'][:,cols]
        self.value = 100*(float(o['score']) if self.preds is None else float(np.mean([mean_ap(p, self.targs) for p in self.preds])))

def gain(mine, base):
    "Mean difference in pairs of seeds, with an interval over seeds where there are several and one over pictures"
    import numpy as np
    from colorfast.metrics import map_ci, t_ci
    pair = [k for k in mine if k in base]
    if not pair: return {}
    d = [mine[k].value-base[k].value for k in pair]
    row = dict(gain=float(np.mean(d)), pairs=len(d))
    if len(d)>1: row['seeds_ci95'] = t_ci(d)['ci95']
    if all(o[k].preds is not None for o in (mine,base) for k in pair):
        ci = map_ci(np.concatenate([mine[k].preds for k in pair]), mine[pair[0]].targs, base=np.concatenate([base[k].preds for k in pair]))
        row['pictures_ci95'] = [100*o for o in ci['ci95']]
    return row

def runs(out):
    "Of each run its seconds, and where it paints its colors beside the do-nothing rows"
    res = {}
    for f in sorted(out.glob('*/*-*/results.json')):
        if f.parent.parent.name not in EPOCHS: continue
        r = json.loads(f.read_text())
        c,s = r['colorization'],r['environment']['seconds']
        row = dict(seconds=s.get('pretrain'))
        if 'psnr' in c: row |= colors(c) | dict(gray=colors(c['grey']), mean_color=colors(c['mean_color']))
        res[f'{f.parent.parent.name}/{f.parent.name}'] = row
    return res

def colors(c):
    "What is said of painted colors: dB, dB of the pooled error, SSIM, color difference, share of the true colorfulness"
    return dict(psnr=c['psnr']['avg'], pooled=c['psnr']['pooled'], ssim=c['ssim']['avg'], delta_e=c['delta_e']['avg'],
                color=c['colorfulness']['prediction']/c['colorfulness']['truth'])

def steps(args):
    "A training step of each method in turns with the conditional GAN's, as a ratio of times; the median of several"
    import os
    with tempfile.TemporaryDirectory(prefix='colorfast') as tmp:
        os.environ['COLORFAST_CACHE'] = f'{tmp}/cache'
        from data import made_up
        from train_step import turn
        from fastai.vision.all import get_image_files
        n = BASE['bs']*args.batches
        files = sorted(get_image_files(args.data) if args.data else made_up(Path(tmp)/'pics', n+BASE['bs']).iterdir())
        if len(files)<n+BASE['bs']: raise SystemExit(f"zoo: {len(files)} pictures found, expected at least {n+BASE['bs']}")
        looks = {f'perceptual_{o}':dict(pretext='perceptual', stride=o) for o in (1,2)}
        ways = dict(whole=dict(pretext='cgan', stride=1)) | METHODS | looks
        learns = {k:learner(files[:n+BASE['bs']], n, kw) for k,kw in ways.items()}
        took = {k:[] for k in ways}
        for r in range(args.repeats+1):
            for k,o in learns.items():
                rate = turn(o, BASE['bs'])[0]
                if r: took[k].append(1/rate)
        res = {k:{f'of_{b}':statistics.median(x/y for x,y in zip(took[k], took[a])) for b,a in (('whole','whole'),('cgan','cgan'))} for k in ways}
    print(f"a step of {BASE['bs']} pictures of {BASE['size']} px, in steps of the conditional GAN: at stride 1, and as here at stride 4")
    for k,o in res.items(): print(f"  {k:22} {o['of_whole']:5.2f}   {o['of_cgan']:5.2f}")
    if args.json: Path(args.json).write_text(json.dumps(dict(batches=args.batches, repeats=args.repeats, threads=args.threads, steps=res), indent=1))

def learner(files, n, kw):
    "As `pretrain` makes it, on these pictures: `n` of them to train with"
    from colorfast.data import ColorizeDataLoaders
    from colorfast.learner import EMA, colorize_learner
    from colorfast.models import get_arch
    from colorfast.pretext import PRETEXTS
    from colorfast.study import get_preset
    cfg = get_preset('demo', **BASE|kw)
    dls = ColorizeDataLoaders.from_files(files, valid_pct=(len(files)-n)/len(files), size=BASE['size'], bs=BASE['bs'], drop_gray=0)
    return colorize_learner(dls, get_arch(BASE['arch']), PRETEXTS[cfg['pretext']].from_settings(cfg), lr=cfg['lr'], metrics=[], cbs=EMA(BASE['ema']))

if __name__=='__main__': main()
