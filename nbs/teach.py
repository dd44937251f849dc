"""Notebooks with gaps, and slides, made from the tutorials for a lesson.

python nbs/teach.py gaps nbs/tutorials/colorize.ipynb [MORE ...] [--out FOLDER] [--every 1]
python nbs/teach.py slides nbs/tutorials/colorize.ipynb [MORE ...] [--out FOLDER] [--reveal ADDRESS]

gaps writes NAME_gaps.ipynb. In its cells the arguments of a call are missing, one call a cell, where `____` stands: whoever
fills them in gets the picture or number that is still below the cell. Answers under exercises are taken out, and the
inside of solutions; the cell below one checks what is written there. The tutorial itself is the key. --every 2 leaves every other call whole.

slides writes NAME.slides.html by nbconvert (reveal.js): a slide a section, a slide below it a figure or a table; of prose the first
sentence, the rest in the speaker's notes (key S). --reveal names a folder or address of reveal.js where there is no network."""
import argparse, ast, json, re, sys
from copy import deepcopy
from pathlib import Path

GAP = '____'
METHODS = {'fit','fit_one_cycle','fine_tune','show_results','predict','lr_find','score','new'} # fastai's, and ours on a learner
ANSWER = re.compile(r'\s*<details>.*?</details>', re.S)

def text(s): return s if isinstance(s, str) else ''.join(s)

def marks(src):
    "The `#|` lines of a cell, by name"
    return {m[1] for m in re.finditer(r'^#\|\s*([\w-]+)', src, re.M)}

# ---------------------------------------------------------------- gaps
def public_names():
    "What a lesson is about: the names of `from colorfast.all import *` that are colorfast's own"
    import colorfast.all as everything
    return {k for k,v in vars(everything).items() if str(getattr(v, '__module__', '')).startswith('colorfast.')}

def is_ours(call, names):
    "A call with arguments of a public name, of a method of one, or of a learner's method"
    if not (call.args or call.keywords): return False
    f = call.func
    if isinstance(f, ast.Name): return f.id in names
    if not (isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name)): return False
    return f.value.id in names or 'learn' in f.value.id and f.attr in METHODS

def gap_of(src, names):
    "Start and end of the arguments of the first call of ours in a cell, as places in `src`; None: there is none"
    try: tree = ast.parse(re.sub(r'^(\s*)[%!].*$', lambda m: m[1]+'pass'.ljust(len(m[0])-len(m[1])), src, flags=re.M))
    except SyntaxError: return None
    defined = [o for o in ast.walk(tree) if isinstance(o, (ast.FunctionDef,ast.ClassDef,ast.Lambda))]
    inside = {id(o) for d in defined for o in ast.walk(d)}
    calls = [o for o in ast.walk(tree) if isinstance(o, ast.Call) and id(o) not in inside and is_ours(o, names)]
    if not calls: return None
    lines = [len(o.encode()) for o in src.splitlines(True)]
    place = lambda row,col: len(src.encode()[:sum(lines[:row-1])+col].decode())
    call = min(calls, key=lambda o: (o.lineno,o.col_offset))
    start = src.index('(', place(call.func.end_lineno, call.func.end_col_offset))+1
    return start,place(call.end_lineno, call.end_col_offset)-1

def is_solution(src): return bool(re.search(r'^#\|\s*code-summary:.*solution', src, re.M))

def without_solution(src):
    "A cell that solves an exercise, without its bodies: the first lines of its functions and what they promise stay"
    tree,lines = ast.parse(src),src.splitlines()
    if not tree.body or not all(isinstance(o, ast.FunctionDef) for o in tree.body): return GAP
    made = []
    for f in tree.body:
        one = f.body[0].lineno==f.lineno # all in one line
        last = f.body[0].end_lineno if ast.get_docstring(f) else f.body[0].lineno-1
        head = [lines[f.lineno-1].encode()[:f.body[0].col_offset].decode().rstrip()] if one else lines[f.lineno-1:last]
        made += [*head, f'    {GAP}', '']
    return '\n'.join(made).strip()

def with_gaps(nb, names, every=1):
    "A copy of a notebook with gaps, and how many"
    nb,n = deepcopy(nb),0
    for c in nb['cells']:
        src = text(c['source'])
        if c['cell_type']=='markdown':
            c['source'] = ANSWER.sub('', src)
            continue
        if c['cell_type']=='code' and is_solution(src):
            n += every
            c['source'] = without_solution(src)
        elif c['cell_type']!='code' or marks(src) & {'hide','code-fold','export','slow'}: continue
        elif at := gap_of(src, names):
            n += 1
            if n%every==0: c['source'] = src[:at[0]]+GAP+src[at[1]:]
    return nb,n//every

# ---------------------------------------------------------------- slides
def first_sentence(md):
    "The first sentence of prose, and whether there is more"
    m = re.match(r'(.+?[.:?!])(?=\s+[A-Z`*\[]|\s*$)', md.strip(), re.S)
    short = m[1] if m else md.strip()
    return short,short!=md.strip()

def slide(kind, c): return c | dict(metadata=c.get('metadata', {}) | dict(slideshow=dict(slide_type=kind)))

def parts_of(md):
    "Markdown as slides: headings, tables and lists are shown, of other paragraphs the first sentence; all of it is in the notes"
    made = []
    for p in re.split(r'\n\s*\n', md.strip()):
        if m := re.match(r'(#+) ', p): made.append(('slide' if len(m[1])<3 else 'subslide',p))
        elif re.match(r'[|>\-*]|\d+\.|```|<|!', p): made.append(('-',ANSWER.sub('', p)))
        else: made.append(('-',first_sentence(p)[0]))
    return made

def as_slides(nb):
    "A copy of a notebook with slides marked as jupyter marks them"
    cells = []
    for c in nb['cells']:
        src,kind = text(c['source']),c['cell_type']
        if kind=='markdown':
            cells += [slide(k, dict(cell_type='markdown', metadata={}, source=p)) for k,p in parts_of(src)]
            cells.append(slide('notes', dict(cell_type='markdown', metadata={}, source=ANSWER.sub('', src))))
            continue
        found = marks(src)
        if kind!='code' or 'hide' in found: continue
        c = deepcopy(c) | dict(source=re.sub(r'^#\|.*\n?', '', src, flags=re.M).strip())
        big = any({'image/png','text/html'} & o.get('data', {}).keys() for o in c['outputs'])
        if found & {'code-fold','hide_input'}:
            if not c['outputs']: continue
            c['metadata'] = c.get('metadata', {}) | dict(tags=['no-input'])
        cells.append(slide('subslide' if big else '-', c))
    return {k:v for k,v in nb.items() if k!='cells'} | dict(cells=cells)

def slides_html(nb, reveal=None):
    "The slides as a page"
    import nbformat
    from nbconvert import SlidesExporter
    from traitlets.config import Config
    c = Config()
    c.TagRemovePreprocessor.enabled,c.TagRemovePreprocessor.remove_input_tags = True,{'no-input'}
    c.SlidesExporter.reveal_scroll = True
    if reveal: c.SlidesExporter.reveal_url_prefix = reveal
    made = as_slides(nb)
    for i,o in enumerate(made['cells']): o['id'] = f'slide-{i}'
    return SlidesExporter(config=c).from_notebook_node(nbformat.reads(json.dumps(made | dict(nbformat=4, nbformat_minor=5)), 4))[0]

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('what', choices=('gaps','slides'))
    p.add_argument('notebooks', nargs='+', type=Path)
    p.add_argument('--out', type=Path, help='folder; without it, beside each notebook')
    p.add_argument('--every', type=int, default=1, help='a gap in every so many of the calls')
    p.add_argument('--reveal', help='folder or address of reveal.js')
    args = p.parse_args()
    if args.every<1: sys.exit(f'teach: --every is {args.every}, expected 1 or more')
    names = public_names() if args.what=='gaps' else None
    for f in args.notebooks:
        try: nb = json.loads(f.read_text(encoding='utf-8'))
        except (OSError,ValueError) as e: sys.exit(f'teach: {f} cannot be read as a notebook: {e}')
        if not isinstance(nb, dict) or 'cells' not in nb: sys.exit(f'teach: {f} is no notebook: it has no cells')
        folder = args.out or f.parent
        folder.mkdir(parents=True, exist_ok=True)
        if args.what=='gaps':
            made,n = with_gaps(nb, names, args.every)
            to = folder/f'{f.stem}_gaps.ipynb'
            to.write_text(json.dumps(made, indent=1, ensure_ascii=False)+'\n', encoding='utf-8')
            print(f'{to}: {n} gaps')
        else:
            to = folder/f'{f.stem}.slides.html'
            to.write_text(slides_html(nb, args.reveal), encoding='utf-8')
            print(f"{to}: {to.stat().st_size/1e6:.1f} MB")

if __name__=='__main__': main()
