"""More photographs seen, a better body? Linear probes of the bodies in checkpoints, a random one beside them.

python bench/curve.py DATA [DATA ...] --checkpoints SEEN=FILE [SEEN=FILE ...] [--bodies NAME=FILE ...] [--classes a,b] [--size 64]
                      [--random 3] [--json FILE]

A checkpoint is what colorfast pretrain writes after each epoch; where it keeps an average of the generator's weights (EMA),
the average is probed. SEEN is the number of pictures that it has seen. Ridge regression on pooled features of DATA's training
photographs, its penalty chosen by leave-one-out there, scored on the test photographs; mean average precision with its
jackknife interval over test photographs, and of the difference to the random body. --classes names those that are averaged."""
import argparse,json,warnings
from pathlib import Path

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data', nargs='+'); p.add_argument('--checkpoints', nargs='*', default=[]); p.add_argument('--bodies', nargs='*', default=[])
    p.add_argument('--classes', default=''); p.add_argument('--size', type=int, default=64); p.add_argument('--random', type=int, default=3); p.add_argument('--json')
    args = p.parse_args()
    warnings.simplefilter('ignore')
    import numpy as np
    from colorfast.data import MultilabelDataLoaders, source_dls
    from colorfast.metrics import map_ci
    from colorfast.protocols import LinearProbe
    from colorfast.transfer import load_body, scratch_body
    res = {}
    for data in args.data:
        dls = source_dls(MultilabelDataLoaders, data, size=args.size, bs=64)
        named = [c for c in args.classes.split(',') if c in dls.vocab]
        at = [dls.vocab.o2i[c] for c in named] or list(range(len(dls.vocab)))
        probe,rows = LinearProbe(split=2),{}
        def judge(body, seed=0): return {k:v[:,at] for k,v in probe(body, dls, seed)[1].items()}
        base = [judge(scratch_body('resnet18', 8), s) for s in range(args.random)]
        todo = {k:of_checkpoint(f) for k,f in (o.split('=', 1) for o in args.checkpoints)}
        todo |= {k:load_body(f) for k,f in (o.split('=', 1) for o in args.bodies)}
        say(rows, 'random', [o['preds'] for o in base], base[0]['targs'], None, map_ci)
        for k,body in todo.items(): o = judge(body); say(rows, k, [o['preds']]*args.random, o['targs'], [o['preds'] for o in base], map_ci)
        res[Path(data).name] = dict(rows=rows, classes=named or 'all', n_test=len(dls[2].dataset), n_train=len(dls.train_ds))
    if args.json: Path(args.json).write_text(json.dumps(res, indent=1))

def of_checkpoint(fn):
    "The body in a checkpoint, its average where there is one"
    from colorfast.files import load_torch
    from colorfast.transfer import scratch_body
    s = load_torch(Path(fn), 'checkpoint')
    gen = s['cbs']['ema']['avg'] if 'ema' in s['cbs'] and not s['cbs']['ema']['swapped'] else None
    if gen is None: gen = {k.removeprefix('generator.'):v for k,v in s['model'].items() if k.startswith('generator.')}
    body = scratch_body('resnet18', 8)
    body.weights = {k[2:]:v for k,v in gen.items() if k.startswith('0.')}
    return body

def say(rows, name, preds, targs, base, map_ci):
    "Print a row, and keep it"
    import numpy as np
    own = map_ci(np.stack(preds), targs)
    rows[name] = dict(map=own['mean'], ci95=own['ci95'])
    line = f"{name:>12}  {100*own['mean']:.1f} ({100*own['ci95'][0]:.1f} to {100*own['ci95'][1]:.1f})"
    if base:
        g = map_ci(np.stack(preds), targs, base=np.stack(base))
        rows[name] |= dict(gain=g['mean'], gain_ci95=g['ci95'])
        line += f"   over random {100*g['mean']:+.1f} ({100*g['ci95'][0]:+.1f} to {100*g['ci95'][1]:+.1f})"
    print(line, flush=True)

if __name__=='__main__': main()
