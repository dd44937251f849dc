"""Which task teaches most? Every pretext on the same body and photographs, then every body before the same judges.

python bench/zoo.py pretrain DATA --out OUT [--budget small|large] [--seeds 0,1,2] [--methods a,b] [--threads 1]
python bench/zoo.py judge OUT --data NAME=FOLDER [NAME=FOLDER ...] [--classes NAME=a,b ...] [--protocols linear,lowshot] [--json FILE]

DATA is a folder of photographs without labels (of 100 pictures a class, where it has folders by class: --per-class). Each
method trains resnet18 up to stride 8 at 64 px with batches of 32, one cycle and an average of the weights; --budget small
shows every photograph once, large five times. OUT/BUDGET/METHOD-SEED holds a run; one that is there is not done again, one
that was interrupted goes on. judge reads every body in OUT, scores it on the test photographs of each data set by each
protocol, with a random body of each seed beside them, and writes one line a score as soon as it is there."""
import argparse, itertools, json, os, sys, time, warnings
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
    rotation=dict(pretext='rotation'),
    autoencoder=dict(pretext='autoencoder'),
    simclr=dict(pretext='simclr'),
    byol=dict(pretext='byol'))
EPOCHS = dict(small=1, large=5)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest='verb', required=True)
    a = sub.add_parser('pretrain'); a.add_argument('data'); a.add_argument('--out', required=True); a.add_argument('--budget', choices=EPOCHS, default='small')
    a.add_argument('--seeds', default='0,1,2'); a.add_argument('--methods', default=','.join(METHODS)); a.add_argument('--threads', type=int, default=1)
    a = sub.add_parser('judge'); a.add_argument('out'); a.add_argument('--data', nargs='+', required=True); a.add_argument('--classes', nargs='*', default=[])
    a.add_argument('--protocols', default='linear'); a.add_argument('--seeds', default='0,1,2'); a.add_argument('--threads', type=int, default=1); a.add_argument('--json', required=True)
    args = p.parse_args()
    warnings.simplefilter('ignore')
    import torch
    torch.set_num_threads(args.threads)
    (pretrain if args.verb=='pretrain' else judge)(args)

def pretrain(args):
    "One run after another, seeds first, so that what is there is complete"
    from colorfast.study import get_preset, run_pretrain
    for seed,name in itertools.product(map(int, args.seeds.split(',')), args.methods.split(',')):
        out = Path(args.out)/args.budget/f'{name}-{seed}'
        if (out/'results.json').exists(): continue
        cfg = get_preset('demo', **BASE|METHODS[name]|dict(epochs=EPOCHS[args.budget]))
        began = time.time()
        run_pretrain(args.data, out, cfg, seed=seed, resume=(out/'checkpoint.pth').exists())
        print(f'zoo  {out.name}  {time.time()-began:.0f} s', flush=True)

def judge(args): raise SystemExit('to come')

if __name__=='__main__': main()
