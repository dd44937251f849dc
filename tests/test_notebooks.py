"""The notebooks keep the house rules: order of the rooms, size of cells, docments, examples, clean and present outputs.

Everything here is read from the files; nothing is run.
"""
import ast, base64, io, json, re, statistics, tokenize
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
NBS,LIB = ROOT/'nbs',ROOT/'colorfast'
ROOMS = {'00':'files', '01':'color', '02':'images', '03':'scenes', '04':'sources', '05':'data', '06':'metrics', '06b':'perceptual',
         '07':'models', '08':'pretext', '09a':'bins', '09b':'hypercolumn', '09c':'splitbrain', '09d':'zoo', '09e':'looks', '10':'learner',
         '11':'transfer', '12':'detect', '13':'protocols', '14':'inference', '14a':'units', '15':'study', '16':'figures', '17':'report', '18':'cli'}
HOUSE = list(ROOMS.values()) # a room imports only from those before it
API = [NBS/f'{i}_{o}.ipynb' for i,o in ROOMS.items()]
ALL = [p for p in sorted(NBS.glob('**/*.ipynb')) if not any(o[0] in '._' for o in p.relative_to(NBS).parts)]
TUTORIALS = [p for p in ALL if p.parent.name == 'tutorials']
# What fastai and torch call, with arguments that they define: these need no docments, and all but a callback's events no docstring
EVENT,PROTOCOL = re.compile(r'(before|after)_\w+'),re.compile(r'encodes|decodes|setups|forward|reset|accumulate|value|name|show|create|__(?!init)\w+__')
api  = pytest.mark.parametrize('path', API, ids=lambda p: p.stem)
each = pytest.mark.parametrize('path', ALL, ids=lambda p: p.relative_to(NBS).with_suffix('').as_posix())

def text(s): return s if isinstance(s, str) else ''.join(s)

class Cell:
    "One cell: its kind, source, `#|` directives, outputs, and a name to find it by."
    def __init__(self, i, c):
        self.i,self.kind,self.src,self.outputs = i,c['cell_type'],text(c['source']),c.get('outputs', [])
        self.marks = {m[1]: m[2].strip() for m in re.finditer(r'^#\|\s*([\w-]+):?(.*)$', self.src, re.M)}
        self.code = self.kind == 'code'
        self.export = self.code and bool({'export', 'exports', 'exporti'} & self.marks.keys())
        self.hidden = 'hide' in self.marks
    def tree(self): return ast.parse(re.sub(r'^(\s*)[%!].*$', r'\1pass', self.src, flags=re.M)) if self.code and not self.src.lstrip().startswith('%%') else ast.parse('')
    def __str__(self): return f'cell {self.i} ({next((l for l in self.src.splitlines() if l and not l.startswith("#|")), "")[:60]!r})'

def cells(path):
    if not path.exists(): pytest.fail(f'nbs/{path.relative_to(NBS)} is not there yet')
    return [Cell(i, c) for i,c in enumerate(json.loads(path.read_text(encoding='utf-8'))['cells'])]

def module(path):
    p = LIB/f'{HOUSE[API.index(path)]}.py'
    if not p.exists(): pytest.fail(f'colorfast/{p.name} is not there: run nbdev_export')
    return p.read_text(encoding='utf-8')

def public(src):
    "The names in `__all__`."
    for o in ast.parse(src).body:
        if isinstance(o, ast.Assign) and getattr(o.targets[0], 'id', '') == '__all__': return ast.literal_eval(o.value)
    return []

def show(bad): return '\n  ' + '\n  '.join(bad)

# ---------------------------------------------------------------- anatomy

@api
def test_first_cell(path):
    c = cells(path)[0]
    assert c.kind == 'markdown' and re.fullmatch(r'# [^\n]+\s+> [^\n]+(\n- [\w-]+: .*)*\s*', c.src), f'the first cell is "# Title", an empty line, "> one sentence"; found {c.src[:120]!r}'

@api
def test_default_exp(path):
    found = [c.marks['default_exp'] for c in cells(path) if 'default_exp' in c.marks]
    assert found == [HOUSE[API.index(path)]], f'expected one "#| default_exp {HOUSE[API.index(path)]}", found {found}'

@api
def test_last_cell(path):
    c = cells(path)[-1]
    assert c.hidden and 'nbdev_export()' in c.src and not c.outputs, 'the last cell is hidden, calls nbdev.nbdev_export() and has no output'

@api
def test_cell_length(path):
    ns = {str(c): len(c.src.strip().splitlines()) for c in cells(path) if c.export}
    bad = [f'{k}: {n} lines' for k,n in ns.items() if n > 40]
    assert not bad, f'export cells over 40 lines; split them, with @patch for methods:{show(bad)}'
    assert statistics.median(ns.values()) <= 15, f'half of the export cells have more than {statistics.median(ns.values()):g} lines, expected 15 at most'

def wide(src, most): return [f'line {i}: {len(l)} columns' for i,l in enumerate(src.splitlines(), 1) if len(l) > most]

@api
def test_columns(path):
    bad = [f'{c}, {o}' for c in cells(path) if c.export for o in wide(c.src, 110)]
    assert not bad, f'exported lines beyond column 110:{show(bad)}'

@pytest.mark.parametrize('path', TUTORIALS, ids=lambda p: p.stem)
def test_tutorial_columns(path):
    "Lines that begin with `#|` are not shown, and may be longer."
    shown = lambda c: re.sub(r'^#\|.*', '', c.src, flags=re.M) # the lines keep their numbers
    bad = [f'{c}, {o}' for c in cells(path) if c.code and not c.hidden for o in wide(shown(c), 88)]
    assert not bad, f'lines of code beyond column 88, where a reader has to scroll:{show(bad)}'

@api
def test_one_statement_a_line(path):
    "In exported code; the drawings of the scenes are lists of strokes and may."
    if path.stem.endswith('_scenes'): return
    bad = []
    for c in cells(path):
        if not c.export: continue
        toks = tokenize.generate_tokens(io.StringIO(c.src).readline)
        bad += [f'{c}, line {t.start[0]}' for t in toks if t.type == tokenize.OP and t.string == ';']
    assert not bad, f'several statements on a line:{show(bad)}'

COMPS = ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp

def depth(node): return max([depth(o) for o in ast.iter_child_nodes(node)], default=0) + isinstance(node, COMPS)

@api
def test_comprehensions(path):
    bad = [str(c) for c in cells(path) if c.export and depth(c.tree()) > 2]
    assert not bad, f'comprehensions nested deeper than two:{show(bad)}'

@each
def test_imports_stand_alone(path):
    "nbdev runs a cell with imports to make the docs: other code in it would run too."
    bad = []
    for c in cells(path):
        tree = c.tree()
        inside = [o for o in ast.walk(tree) if isinstance(o, (ast.Import, ast.ImportFrom)) and o not in tree.body] # nbdev looks there, too
        kinds = {isinstance(o, (ast.Import, ast.ImportFrom)) for o in tree.body}
        if (len(kinds) == 2 or (inside and path in API)) and not c.export and 'nbdev_export()' not in c.src: bad.append(str(c))
    assert not bad, f'cells that mix imports with other code; give the imports a cell of their own:{show(bad)}'

@each
def test_temporary_folders(path):
    "A kernel that ends leaves behind what nobody removed: CI measures it, and this names the notebook."
    def pairs(o): return zip(o.targets[0].elts, o.value.elts) if isinstance(o.value, ast.Tuple) and isinstance(o.targets[0], ast.Tuple) else [(o.targets[0], o.value)]
    made = [p for c in cells(path) if c.code and not c.export for o in ast.walk(c.tree()) if isinstance(o, ast.Assign) for p in pairs(o)]
    kept = {ast.unparse(n) for n,v in made if re.search(r'tempfile\.(mkdtemp|TemporaryDirectory)\(', ast.unparse(v))}
    src = '\n'.join(c.src for c in cells(path) if c.code)
    bad = [o for o in sorted(kept) if not re.search(rf'rmtree\({o}\b|\b{o}\.cleanup\(', src)]
    assert not bad, f'temporary folders that are not removed: {bad}; end with shutil.rmtree(NAME) or NAME.cleanup()'

@each
def test_environment_is_left_alone(path):
    "Notebooks are tested one after another in the same process: a setting that stays is the next one's, too."
    src = '\n'.join(c.src for c in cells(path) if c.code and not c.export)
    changed = re.findall(r"^ *os\.environ\['(\w+)'\] = ", src, re.M)
    kept = [o for o in changed if 'env.stop()' not in src and f"os.environ.pop('{o}')" not in src]
    assert not kept, f'{kept} stay set; use env = mock.patch.dict(os.environ, ...), env.start() and env.stop()'

@api
def test_house(path):
    "A room imports only rooms above it, at the top or inside a function."
    room = HOUSE[API.index(path)]
    above,bad = HOUSE[:HOUSE.index(room)],[]
    for o in ast.walk(ast.parse(module(path))):
        mods = []
        if isinstance(o, ast.ImportFrom):
            if o.level: mods = [o.module] if o.module else [a.name for a in o.names]
            elif (o.module or '') == 'colorfast': mods = [a.name for a in o.names]
            elif (o.module or '').startswith('colorfast.'): mods = [o.module[10:]]
        elif isinstance(o, ast.Import): mods = [a.name[10:] for a in o.names if a.name.startswith('colorfast.')]
        bad += [f'line {o.lineno}: {m}' for m in mods if m.split('.')[0] not in above and not m.startswith('__')]
    assert not bad, f'{room} may import only {above or "no room"}, and imports{show(bad)}'

@api
def test_no_private_imports(path):
    "What another room needs is public."
    bad = [f'{o.module}: {a.name}' for o in ast.walk(ast.parse(module(path))) if isinstance(o, ast.ImportFrom) and (o.level or (o.module or '').startswith('colorfast'))
           for a in o.names if a.name.startswith('_') and not a.name.startswith('__')]
    assert not bad, f'private names of other rooms:{show(bad)}'

def test_public_names_are_distinct():
    "`from colorfast.all import *` gives each name one meaning."
    seen = {}
    for p in API:
        for n in public(module(p)): seen.setdefault(n, []).append(p.stem)
    seen = {n:o for n,o in seen.items() if len(o) > 1 and n not in ('show_batch','show_results','plot_top_losses')} # dispatched by type
    assert not seen, f'names that two rooms define: {seen}'

# ---------------------------------------------------------------- documentation

def deco(f): return {ast.unparse(d).split('(')[0] for d in f.decorator_list}

def functions(src):
    "Every public class, function and method as (name, node, whether its parameters are for users): of `__all__`, of its classes, and patched on."
    names,out = public(src),[]
    for o in ast.parse(src).body:
        if isinstance(o, ast.ClassDef) and o.name in names:
            out.append((o.name, o, False))
            out += [(f'{o.name}.{f.name}', f, f.name == '__init__' or 'classmethod' in deco(f)) for f in o.body if isinstance(f, ast.FunctionDef) and (f.name == '__init__' or f.name[0] != '_')]
        elif isinstance(o, ast.FunctionDef) and {'patch', 'patch_to'} & deco(o):
            cls = ast.unparse(o.args.args[0].annotation) if o.args.args and o.args.args[0].annotation else '?'
            if (o.name == '__init__' or o.name[0] != '_') and not cls.startswith('_'): out.append((f'{cls}.{o.name}', o, True))
        elif isinstance(o, ast.FunctionDef) and o.name in names: out.append((o.name, o, not {'dispatch', 'typedispatch'} & deco(o)))
    return [(n,o,u and not EVENT.fullmatch(o.name) and not PROTOCOL.fullmatch(o.name)) for n,o,u in out]

def undocumented(src, f):
    "What the signature of `f` leaves unsaid."
    comments = {t.start[0] for t in tokenize.generate_tokens(io.StringIO(src).readline) if t.type == tokenize.COMMENT}
    a,out = f.args,[]
    args = [*a.posonlyargs, *a.args, *a.kwonlyargs]
    if args and args[0].arg in ('self', 'cls'): args = args[1:]
    elif {'patch', 'patch_to'} & deco(f): args = args[1:]
    defaults = {id(x): d for x,d in zip(reversed([*a.posonlyargs, *a.args]), reversed(a.defaults))} | {id(x): d for x,d in zip(a.kwonlyargs, a.kw_defaults) if d}
    for x in args:
        line = (defaults.get(id(x)) or x).end_lineno
        if line not in comments: out.append(f'`{x.arg}` has no docment on its line')
    gives = any(isinstance(o, (ast.Return, ast.Yield, ast.YieldFrom)) and o.value and not (isinstance(o.value, ast.Constant) and o.value.value is None) for o in ast.walk(f))
    if f.name != '__init__':
        if not f.returns: out += ['it returns something, without `->type: # what`'] if gives else []
        elif f.returns.end_lineno not in comments and ast.unparse(f.returns) != 'None': out.append('its return has no docment')
    return out

@api
def test_docstrings(path):
    bad = []
    for name,o,_ in functions(module(path)):
        doc = ast.get_docstring(o)
        if not doc and o.name != '__init__' and not ('.' in name and PROTOCOL.fullmatch(o.name)): bad.append(f'{name} has no docstring')
        elif doc and '\n' in doc: bad.append(f'{name} has a docstring of several lines; the rest is prose beside it')
    assert not bad, f'one line says what each public name is:{show(bad)}'

@api
def test_docments(path):
    src = module(path)
    bad = [f"{n}: {', '.join(m)}" for n,o,users in functions(src) if users and (m := undocumented(src, o))]
    assert not bad, f'each parameter on a line of its own, with `# shape, range or unit, and what None means`; the return likewise:{show(bad)}'

@api
def test_examples(path):
    "Every public name is used in a visible cell, and stands in a cell that tests something."
    cs = [c for c in cells(path) if c.code and not c.export]
    seen = '\n'.join(c.src for c in cs if not c.hidden)
    tested = '\n'.join(c.src for c in cs if re.search(r'\btest_\w+\(|\bexpect_fail\b|^\s*assert\b|\btest\w*\(', c.src, re.M))
    names = public(module(path))
    bad  = [f'{n}: no visible example' for n in names if not re.search(rf'\b{n}\b', seen)]
    bad += [f'{n}: no test' for n in names if not re.search(rf'\b{n}\b', tested)]
    assert not bad, f'public names without an example or a test in their notebook (rename a helper to _name if it is not for users):{show(bad)}'

# ---------------------------------------------------------------- outputs

@each
def test_size(path):
    n = path.stat().st_size
    assert n < 1e6, f'the notebook has {n/1e6:.2f} MB; keep it below 1 MB with fewer or smaller figures'
    bad = []
    for c in cells(path):
        for o in c.outputs:
            for mime,data in o.get('data', {}).items():
                if mime.startswith('image/'):
                    k = len(base64.b64decode(text(data))) if mime != 'image/svg+xml' else len(text(data))
                    if k > 200e3: bad.append(f'{c}: {k/1e3:.0f} kB')
    assert not bad, f'figures over 200 kB:{show(bad)}'

@each
def test_outputs_present(path):
    cs = [c for c in cells(path) if c.code and not c.export and not c.hidden and c.marks.get('eval') != 'false']
    if cs: assert any(c.outputs for c in cs), 'no cell has an output: run the notebook from top to bottom and save it, so that the site shows figures'
    # a visible cell that ends in a value or prints has something to show
    bad = [str(c) for c in cs if not c.outputs and re.search(r'^print\(', c.src, re.M)]
    assert not bad, f'cells that print, without their output; run the notebook again:{show(bad)}'

@each
def test_figures_present(path):
    "A cell that describes a figure has one"
    bad = [str(c) for c in cells(path) if 'fig-alt' in c.marks and not any(m.startswith('image/') for o in c.outputs for m in o.get('data', {}))]
    assert not bad, f'cells with fig-alt and without a figure; run the notebook again and look at it:{show(bad)}'

@each
def test_outputs_clean(path):
    bad = []
    for c in cells(path):
        for o in c.outputs:
            s = text(o.get('text', '')) + ''.join(text(v) for k,v in o.get('data', {}).items() if k.startswith('text/'))
            if o['output_type'] == 'error': bad.append(f"{c}: ends in {o.get('ename')}")
            if o.get('name') == 'stderr': bad.append(f'{c}: {text(o["text"])[:80]!r} on stderr')
            if m := re.search(r'(?<![\w.])(/(?:home|root|work|opt|Users|tmp|private|var|mnt)/\S*|[A-Z]:\\Users\S*)', s): bad.append(f'{c}: the path {m[0][:60]}')
            if m := re.search(r'\w*Warning: .*', s): bad.append(f'{c}: {m[0][:80]}')
            if re.search(r'<progress|█|it/s\]', s): bad.append(f'{c}: a progress bar')
    assert not bad, f'outputs to clean; set Path.BASE_PATH, use no_bar, mend warnings:{show(bad)}'

@each
def test_metadata_clean(path):
    nb = json.loads(path.read_text(encoding='utf-8'))
    bad = [f'cell {i}' for i,c in enumerate(nb['cells']) if c.get('execution_count') or c.get('metadata')]
    assert not bad and set(nb['metadata']) <= {'kernelspec'}, f'run nbdev_clean: {bad or sorted(nb["metadata"])}'
