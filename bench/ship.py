"""Put the colorizer of a finished run into the package: weights in half precision, and a card that says everything.

python bench/ship.py RUN [--name photos] [--command TEXT] [--hours H] [--machine TEXT] [--data TEXT] [--failure TEXT ...]
                         [--note TEXT] [--scores FILE --scored TEXT] [--to FOLDER]

RUN is the folder of `colorfast pretrain`: colorizer.safetensors and .json, results.json, and for the command report.html.
What results.json does not know is an option; a resumed run counts only its last part's seconds, so give --hours.
--scores takes those of bench/photographs.py in place of the run's own, and --scored says of what they are.
It ends with status 1, and nothing is written, if half precision moves a color by a step or more, or if the file is over 5 MB.
Afterwards: `python bench/ship.py --check`, then commit colorfast/weights."""
import argparse, re, sys, tempfile
from html import unescape
from pathlib import Path
import torch

DATA = {'tiny-imagenet-200': 'Tiny ImageNet (Stanford CS231n): photographs of 64 px from 200 classes of ImageNet',
        'scenes150': 'Scene-Classification-Dataset: photographs of 150 px of buildings, forests, glaciers, mountains, sea and streets'}
LICENCE = {'weights': 'Apache-2.0, like the package, as far as its authors can give it',
           'photographs': "Tiny ImageNet's are a part of ImageNet's, which are for non-commercial research and education and "
                          'belong to their photographers; none is in the package. Whether that binds weights learned from '
                          'them is not settled law: for commercial use ask a lawyer, or train on photographs of your own'}
FAILURES = ['It says what is likely, not what was: the color of a car, a dress or a wall cannot be known from gray.',
            'Where it is unsure it paints a brownish gray, duller than the truth, and sometimes a patch of red, green or purple that '
            'was never there.',
            'It learned from small pictures of 64 px of mostly animals, things and places, scaled as Tiny ImageNet '
            'scales them; drawings, documents, medical and night pictures are strange to it.',
            'People are few among its classes; it was not examined for how it paints skin of different tones.',
            'Color is painted at a coarse grid: small things take the color of their surroundings.']
DOWNSTREAM = 'bodies same_recipe tasks arms budgets color tune probe protocols scenes labels multilabel segment data kind processes'.split()
MOST = 5*2**20 # bytes

def typed(run):
    "The command that made `run`, as its report has it; paths are shortened to their last part"
    fn = run/'report.html'
    found = re.search(r'colorfast pretrain[^<\n]*', fn.read_text(encoding='utf-8')) if fn.exists() else None
    return found and re.sub(r'(?:/[^\s/]+)+/([^\s/]+)', r'\1', unescape(found[0]).strip())

def samples(run, size):
    "Lightness to compare on: the run's example pictures if it kept some, and smooth noise"
    from colorfast.files import load_torch
    torch.manual_seed(0)
    noise = [torch.nn.functional.interpolate(torch.rand(16,1,k,k)*2-1, (size,size), mode='bicubic').clamp(-1,1) for k in (4,16,size)]
    kept = load_torch(run/'pictures.pth') if (run/'pictures.pth').exists() else {}
    return noise + [kept[k].float() for k in ('l','pl') if k in kept]

@torch.no_grad()
def moved(whole, half, ls):
    "Largest and mean difference in ab, in steps of a* and b*, between two colorizers on lightness `ls`"
    a,b = [torch.cat([c.predict(l[i:i+1]).flatten() for l in ls for i in range(len(l))]) for c in (whole,half)]
    d = 128*(a-b).abs()
    return d.max().item(),d.mean().item()

def card_of(run, card, res, args):
    "The full card"
    from colorfast.files import load_json
    parts = Path(str(res['config'].get('data'))).parts
    known = next((v for k,v in DATA.items() if k in parts), None)
    env,secs = res['environment'],res['environment'].get('seconds', {}).get('pretrain')
    scores = load_json(Path(args.scores)) if args.scores else res['colorization']
    scores = {k:v for k,v in scores.items() if k not in ('probe','resumed_from','first')}
    if 'resumed_from' in res['colorization'] and not args.hours: sys.exit('the run was resumed, and knows the seconds of its last part alone: give --hours')
    more = dict(name=args.name, note=args.note, data=args.data or known, label_free=card.get('label_free', True),
                settings={k:v for k,v in res['config'].items() if k not in DOWNSTREAM and v is not None},
                command=args.command or typed(run), hours=args.hours or (secs and round(secs/3600, 2)),
                machine=args.machine or f"{env['device']}, threads: {env['threads']}", versions=env['versions'],
                scored=args.scored or f"{scores.get('n')} photographs that training did not see ({scores.get('split')}), PSNR in dB",
                scores=scores, failures=args.failure or FAILURES, licence=LICENCE)
    lost = [k for k in ('data','command','hours') if not more[k]]
    if lost: sys.exit(f"the run does not say its {', '.join(lost)}: give --{' --'.join(lost)}")
    return {k:v for k,v in card.items() if k!='sha256'} | {k:v for k,v in more.items() if v is not None}

def ship(args):
    "Write the pair; its largest difference in ab"
    from colorfast.files import load_json, load_weights, pair_file, save_weights, to_half
    from colorfast.inference import Colorizer, model_card
    run,name = Path(args.run),args.name
    weights,card = load_weights(run, 'colorizer')
    half = to_half({k:v for k,v in weights.items() if not k.startswith('pretext.')})
    card = card_of(run, card, load_json(run/'results.json', 'results of a run'), args)
    with tempfile.TemporaryDirectory() as tmp:
        fn = save_weights(weights|half, card, Path(tmp)/name)
        size = fn.stat().st_size
        most,mean = moved(Colorizer.load(run, 'cpu'), Colorizer.load(fn, 'cpu'), samples(run, card['size']))
        if most>=1: sys.exit(f'half precision moves ab by {most:.2f} steps, expected less than 1')
        if size>MOST: sys.exit(f'{fn.name} has {size/2**20:.1f} MB, expected at most 5')
        card['precision'] = (f'half, {size/2**20:.2f} MB; against single precision ab moves by {most:.3f} at most and {mean:.4f} '
                             'on average, in steps of a* and b*, of which about two can be seen')
        card['half_moves_ab'] = dict(most=round(most, 4), mean=round(mean, 5))
    fn = save_weights(weights|half, card, pair_file(Path(args.to)/name))
    print(model_card(str(fn)))
    print(f'\n{fn}: {size/2**20:.2f} MB; half precision moves ab by at most {most:.3f} steps')

def check(args):
    "Does the shipped pair load, color and say what it should?"
    import numpy as np
    from colorfast.inference import colorize, model_card
    from colorfast.transfer import load_body, load_unet
    out = np.array(colorize(np.tile(np.arange(256, dtype=np.uint8), (64,1)), args.name))
    print(model_card(args.name))
    print(f'\n{load_body(args.name)}, {load_unet(args.name)}, a ramp of grays becomes {out.shape}, colors differ by up to {int(np.ptp(out.astype(int), -1).max())}')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('run', nargs='?'); p.add_argument('--name', default='photos'); p.add_argument('--to', default=Path(__file__).parent.parent/'colorfast'/'weights')
    for o in ('command','machine','data','note','scores','scored'): p.add_argument(f'--{o}')
    p.add_argument('--hours', type=float); p.add_argument('--failure', nargs='+'); p.add_argument('--check', action='store_true')
    args = p.parse_args()
    if not (args.run or args.check): p.error('give the folder of a run, or --check')
    if args.run: ship(args)
    if args.check: check(args)

if __name__ == '__main__': main()
