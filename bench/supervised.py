"""The ceiling: the body of a colorizer, trained on the labels of the same photographs instead of their colors.

python bench/supervised.py DATA --out DIR [--pictures N | --epochs E] [--arch resnet18] [--size 64] [--max-stride 8] [--bs 64]
                           [--lr 2e-3] [--wd .01] [--zoom 1] [--limit N] [--seed 0] [--threads N]

The top folders of DATA are the classes, or those of DATA/train (Tiny ImageNet: train/CLASS/images/*.JPEG). Validation is
DATA/val where its pictures have classes, by folder or by a val_annotations.txt; else a tenth of training, at random, as by
default in coloring. Everything else is as there: the pictures in gray, mirrored and perhaps enlarged (--zoom), none
with a mean chroma below 1, the same network up to a linear head, one cycle. --pictures counts pictures shown, so that a
colorizer and its ceiling can be held against each other after the same number; the last epoch may be a part of one.
An interrupted run goes on where its last whole epoch ended; a line about every minute says where it is.

DIR/body.safetensors and DIR/body.json are what load_body reads, with label_free false on the card:

colorfast transfer multilabel VOC --body photos --bodies ceiling=DIR --frozen --out RUN"""
import argparse, json, math, sys, time, warnings
from pathlib import Path
import torch, torchvision, fastai
from fastai.vision.all import *
from colorfast.files import UserError, save_weights
from colorfast.models import arch_name, default_stride, get_arch
from colorfast.sources import RUN_MARK, get_kind
from colorfast.data import PictureDataLoaders
from colorfast.learner import AutoCast, Checkpoint, LineLog
from colorfast.transfer import linear_head, scratch_body

class _ClassOf(Transform):
    "From the path of a picture to its class"
    def __init__(self, classes):
        super().__init__()
        self.classes,self.input_types = classes,(Path,str)
    def encodes(self, fn): return self.classes[str(fn)]

class ClassDataLoaders(PictureDataLoaders):
    "`TensorImage` `(bs,3,h,w)` in [0,1] and one class a picture, `TensorCategory` `(bs,)`."
    @classmethod
    def _targets(cls, source):
        return [CategoryBlock(vocab=source.vocab, sort=False)],[_ClassOf(source.labels)],None

def class_of(fn, top):
    "The folder below `top` that a picture lies in"
    parts = Path(fn).relative_to(top).parts
    return parts[0] if len(parts)>1 else None

def annotated(folder):
    "Name to class, from a list such as Tiny ImageNet's val_annotations.txt"
    fn = next(iter(sorted(Path(folder).glob('*_annotations.txt'))), None)
    rows = [o.split('\t') for o in fn.read_text().splitlines()] if fn else []
    return {o[0]:o[1] for o in rows if len(o)>1}

def read_classes(data):
    "Pictures in the order in which coloring reads them, with their classes"
    data = Path(data)
    src = get_kind('folder').read(data, 'pictures', None, 'val', None)
    top = data/'train' if (data/'train').is_dir() else data
    labels = {f:class_of(f, top) for f in src.splits['train']}
    if lost := [f for f,o in labels.items() if o is None]:
        raise UserError(f'{data}: {len(lost)} pictures lie in no class, such as {Path(lost[0]).name}: expected folders that are classes')
    src.vocab = sorted(set(labels.values()))
    if len(src.vocab)<2: raise UserError(f'{data}: found the classes {src.vocab}, expected a folder for each of at least two')
    known = annotated(data/'val')
    held = {f:known.get(Path(f).name) or class_of(f, data/'val') for f in src.splits.get('valid') or []}
    held = {f:o for f,o in held.items() if o in set(src.vocab)}
    src.splits,src.labels = dict(train=src.splits['train'], valid=list(held), test=None),labels|held
    return src

class Shown(Callback):
    "One cycle over a number of batches; the last epoch has a random part of the pictures."
    def __init__(self, batches, lr): store_attr()
    def before_epoch(self):
        dl = self.dls.train
        left,draw = (self.batches-self.epoch*len(dl))*dl.bs,type(dl).shuffle_fn
        dl.shuffle_fn = lambda idxs: draw(dl, idxs)[:left]
    def before_batch(self):
        if not self.training: return
        p,warm = (self.epoch*len(self.dls.train)+self.iter)/self.batches,.25
        up,down = (1-math.cos(math.pi*p/warm))/2,(1+math.cos(math.pi*(p-warm)/(1-warm)))/2
        self.opt.set_hyper('lr', self.lr*(.04+.96*up if p<warm else max(1e-5, down)))

def adam_w(params, lr=2e-3, **kwargs):
    "PyTorch's fused AdamW in fastai's wrapper, whose state a checkpoint can hold"
    opt = OptimWrapper(params, torch.optim.AdamW, lr=1e-3, fused=True, **kwargs)
    opt.set_hyper('lr', lr)
    return opt

def supervise(data, out, pictures=None, epochs=1., arch='resnet18', size=64, max_stride=None, bs=64, lr=2e-3, wd=.01, zoom=1., limit=None, seed=0, lines=60.):
    "Train, and leave the body in `out`; its card"
    out,begin = Path(out),time.time()
    src = read_classes(data)
    dls = ClassDataLoaders.from_source(src, size=size, bs=bs, max_zoom=zoom, valid_pct=.1, drop_gray=1., limit=limit)
    out.mkdir(parents=True, exist_ok=True)
    (out/RUN_MARK).touch()
    per_epoch = len(dls.train)*dls.train.bs
    batches = max(1, math.ceil((pictures or epochs*per_epoch)/dls.train.bs))
    pictures,n = batches*dls.train.bs,math.ceil(batches/len(dls.train)) # whole batches
    max_stride = max_stride or default_stride(size)
    body = scratch_body(arch, max_stride)
    set_seed(seed)
    learn = vision_learner(dls, body, pretrained=False, custom_head=linear_head(body, len(src.vocab)), init=None, loss_func=CrossEntropyLossFlat(),
                           metrics=accuracy, opt_func=adam_w, cbs=[ChannelsLast(), AutoCast()], wd=wd, path=out)
    asked = dict(arch=arch_name(get_arch(arch)), size=size, max_stride=max_stride, lr=lr, wd=wd, zoom=zoom, limit=limit, shown=pictures)
    cp = Checkpoint(out/'checkpoint.pth', seed, settings=asked)
    start = cp.resume(learn)
    log = LineLog(out/'log.csv', echo=True, prefix='supervised  ', start=start, every=lines)
    print(f'{len(dls.train_ds)} photographs of {len(src.vocab)} classes to train, {len(dls.valid_ds)} to validate; {pictures} are shown in {n} epochs'
          +(f', of which {start} are done' if start else ''), flush=True)
    with learn.no_bar(), learn.no_logging(): learn.fit(n, lr, cbs=[cp, log, Shown(batches, lr)], start_epoch=start)
    res = dict(zip(learn.recorder.metric_names[1:-1], map(float, cp.rows[-1][1:]))) if cp.rows else {}
    weights = dict(zip(body.layers(False).state_dict(), learn.model[0].state_dict().values()))
    card = dict(what='body', arch=asked['arch'], max_stride=max_stride, n_in=1, input='RGB in [0,1], (bs,3,h,w); inside L*/50-1', pretext='labels', label_free=False,
                size=size, pictures=pictures, photographs=len(dls.train_ds), classes=len(src.vocab), settings=asked|dict(bs=dls.train.bs, seed=seed), scores=res,
                seconds=round(time.time()-begin, 1), versions=dict(torch=torch.__version__, torchvision=torchvision.__version__, fastai=fastai.__version__))
    fn = save_weights(weights, card, out/'body')
    print(f"{fn}: accuracy {res.get('accuracy', float('nan')):.3f} on validation pictures after {pictures} pictures", flush=True)
    return card

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data'); p.add_argument('--out', required=True); p.add_argument('--pictures', type=int); p.add_argument('--epochs', type=float, default=1.)
    p.add_argument('--arch', default='resnet18'); p.add_argument('--size', type=int, default=64); p.add_argument('--max-stride', type=int); p.add_argument('--bs', type=int, default=64)
    p.add_argument('--lr', type=float, default=2e-3); p.add_argument('--wd', type=float, default=.01); p.add_argument('--zoom', type=float, default=1.)
    p.add_argument('--limit', type=int); p.add_argument('--seed', type=int, default=0); p.add_argument('--threads', type=int)
    a = vars(p.parse_args())
    if t := a.pop('threads'): torch.set_num_threads(t)
    warnings.filterwarnings('ignore', category=FutureWarning)
    try: supervise(**a)
    except ValueError as e: sys.exit(f'supervised: {e}')

if __name__=='__main__': main()
