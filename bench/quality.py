"""Quality of colorizers after the same number of pictures, with the do-nothing rows beside them.

python bench/quality.py DATA [--ways regression,cgan] [--epochs 5] [--bs 16] [--size 64] [--valid 200] [--max-stride 8] [--lambda-l1 400] [--labels SCENES] [--json FILE]

DATA is anything that colorfast pretrain takes. A folder without splits is scored on --valid pictures that training has
not seen. Ways: regression, cgan (critic of 16 channels), and usual, fastai's own GANLearner with DynamicUnet as in
bench/train_step.py, which needs hours on a CPU; it trains its generator on as many pictures as the others.
--labels SCENES adds what each body is worth: multilabel mean average precision after the demo's fine-tuning."""
import argparse,json,time,warnings
from pathlib import Path

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data'); p.add_argument('--ways', default='regression,cgan'); p.add_argument('--epochs', type=int, default=5)
    p.add_argument('--bs', type=int, default=16); p.add_argument('--size', type=int, default=64); p.add_argument('--valid', type=int, default=200)
    p.add_argument('--max-stride', type=int, default=8); p.add_argument('--labels'); p.add_argument('--threads', type=int, default=2)
    p.add_argument('--lambda-l1', type=float, default=400)
    p.add_argument('--seed', type=int, default=0); p.add_argument('--json')
    args = p.parse_args()
    warnings.simplefilter('ignore')
    import torch
    from fastai.vision.all import get_image_files
    from colorfast.data import color_dls
    from colorfast.sources import find_kind
    from colorfast.metrics import mean_ab, score_colorizer, scores_table
    torch.set_num_threads(args.threads)
    kw = dict(size=args.size, bs=args.bs)
    if find_kind(args.data)=='folder': kw['valid_pct'] = args.valid/len(get_image_files(args.data))
    dls = color_dls(args.data, **kw)
    dl = dls[2] if len(dls.loaders)>2 else dls.valid
    truth = [[o.as_subclass(torch.Tensor).cpu() for o in b] for b in dl]
    mean,res = mean_ab(dls.train, n=2000).cpu(),{}
    print(f'{len(dls.train_ds)} pictures to train, {len(dl.dataset)} to score, {args.epochs} epochs, seed {args.seed}\n')
    for way in args.ways.split(','):
        t = time.time()
        predict,weights = train(way, dls, args)
        r = res[way] = score_colorizer(predict, truth, mean)|dict(seconds=round(time.time()-t))
        print(f"{way}, {r['seconds']} s\n{scores_table(r).to_string()}\n", flush=True)
        if args.labels: r['map'] = downstream(weights, None if way=='usual' else args.max_stride, args); print(f"{way}: mean average precision {100*r['map']:.1f} %\n", flush=True)
    if args.labels: res['scratch'] = dict(map=downstream(None, args.max_stride, args)); print(f"from scratch: mean average precision {100*res['scratch']['map']:.1f} %")
    if args.json: Path(args.json).write_text(json.dumps(res, indent=1))

def train(way, dls, args):
    "Train `way`; what colors L `(bs,1,h,w)`, and the body's weights"
    import torch
    from fastai.vision.all import resnet18, set_seed
    from colorfast.learner import EpochSeed, colorize_learner
    from colorfast.pretext import PRETEXTS
    set_seed(args.seed)
    if way=='usual':
        from train_step import usual
        files,n = [str(o) for o in dls.train_ds.items],len(dls.train_ds)
        learn = usual(files+files[:args.bs], n, args.size, args.bs)
        with learn.no_bar(), learn.no_logging(): learn.fit(2*args.epochs) # every other batch trains the critic
        unet = learn.model.generator.unet.eval()
        @torch.no_grad()
        def predict(l): return unet(l).as_subclass(torch.Tensor)
        return predict,unet[0].state_dict()
    learn = colorize_learner(dls, resnet18, PRETEXTS[way].from_settings(dict(critic_nf=16, lambda_l1=args.lambda_l1)), max_stride=args.max_stride, metrics=[])
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(args.epochs, cbs=EpochSeed(args.seed))
    return learn.predict_ab,learn.model.generator[0].state_dict()

def downstream(weights, max_stride, args):
    "Test mean average precision of a body with these weights, or from scratch, fine-tuned as the demo does"
    from colorfast.study import get_preset, task_dls, transfer_run
    from colorfast.transfer import Body
    cfg = get_preset('demo')['multilabel']
    dls = task_dls('multilabel', args.labels, size=args.size, bs=cfg['bs'])
    return transfer_run('multilabel', dls, Body('resnet18', weights, {} if weights else None, max_stride), 'pretrained' if weights else 'scratch', cfg, args.seed)[1]['map']

if __name__=='__main__': main()
