#!/usr/bin/env python3
"""Build the docs site, or the README, from the notebooks, with nothing that pip cannot install.

    python .ci/docs.py             the site, in _docs/index.html
    python .ci/docs.py --readme    README.md, and the pictures of its outputs in nbs/images/

Where Quarto is installed `nbdev_docs` builds the site from the same notebooks and the same _quarto.yml.
"""
import argparse, html, json, os, re, shutil, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

def setup():
    "Work in the checkout, and find its package before any other."
    os.chdir(ROOT); sys.path.insert(0, str(ROOT))
    os.environ.setdefault('MPLBACKEND', 'Agg')
    from nbdev.config import get_config
    return get_config()

def text(s): return s if isinstance(s, str) else ''.join(s)

def options(src):
    "The `#|` options at the top of a code cell, and the code below them."
    lines, opts = src.split('\n'), {}
    while lines and lines[0].startswith('#|'):
        k,_,v = lines.pop(0)[2:].partition(':')
        opts[k.strip()] = v.strip().strip('"\'') if v else True
    return opts, '\n'.join(lines).strip('\n')

def plain(md):
    "Markdown as one line of words."
    md = re.sub(r'```.*?```|<!--.*?-->|:::.*', ' ', md, flags=re.S if '```' in md else 0)
    md = re.sub(r'!?\[([^\]]*)\]\([^)]*\)(\{[^}]*\})?', r'\1', md)
    return re.sub(r'\s+', ' ', re.sub(r'[`*_#>|]', '', md)).strip()

# ---------------------------------------------------------------- the site

def add_alts(nb):
    "Give every figure without a `fig-alt` the words it stands below, which name its question."
    said = ''
    for c in nb['cells']:
        src = text(c['source'])
        if c['cell_type'] == 'markdown' and plain(src) and not src.lstrip().startswith(':::'): said = plain(src)[:200]
        pics = [o for o in c.get('outputs', []) if any(k.startswith('image/') for k in o.get('data', {}))]
        if pics and not re.search(r'^#\| *fig-alt *:', src, re.M):
            c['source'] = f"#| fig-alt: {json.dumps('Figure: ' + (said or 'output of the cell'))}\n{src}"
    return nb

def inherited():
    "Names of arguments that classes take over from fastai: events of a callback, steps of a loader. No reader looks them up here."
    from fastai.callback.core import event
    from fastai.data.load import DataLoader
    return {o for o in vars(event) if o[0] != '_'} | set(DataLoader._methods)

def apart(s):
    "Arguments of a signature that stand on one line, each by itself."
    out, deep = [''], 0
    for c in s:
        deep += (c in '([{') - (c in ')]}')
        if c == ',' and not deep: out.append('')
        else: out[-1] += c
    return [o.strip() for o in out if o.strip()]

def tidy(fence, noise, width=84):
    "A signature without links, types that only repeat the default and inherited arguments, in lines that fit."
    fence = re.sub(r'\[(`[^`\]]+`)\]\([^)]*\)', r'\1', fence)
    if not re.match(r'```python\n(?:def|class) \w+\(\n', fence): return fence
    out, left = [], False
    for l in re.sub(r':(?:NoneType|function)(?==)', '', fence).split('\n'):
        if not l.startswith('    ') or ' # ' in l: out.append(l); continue
        args = apart(l)
        keep = [o for o in args if o.partition('=')[0] not in noise]
        left |= len(keep) < len(args)
        for o in keep:
            last = out[-1]
            together = last.startswith('    ') and ' # ' not in last and len(last) + len(o) + 3 < width
            out[-1:] = [f'{last.rstrip(",")}, {o},'] if together else [last, f'    {o},']
    at = next(i for i,l in enumerate(out) if l.startswith(')'))
    if left: out.insert(at, '    **kwargs'); at += 1
    if ' # ' not in out[at-1]: out[at-1] = out[at-1].rstrip(',')
    return '\n'.join(out)

def plain_signatures(nb):
    "Signatures to read; a method that a user never calls, an event of a callback or a private one, is not in the table of contents."
    noise = inherited()
    def head(m): return m[0] + (' {.unlisted}' if any(o[0] == '_' or o in noise for o in m[1].split('.')) else '')
    for o in (o for c in nb['cells'] for o in c.get('outputs', []) if 'text/markdown' in o.get('data', {})):
        md = re.sub(r'^```.*?^```', lambda m: tidy(m[0], noise), text(o['data']['text/markdown']), flags=re.S|re.M)
        o['data']['text/markdown'] = re.sub(r'^#{2,4} ([\w.]+)$', head, md, flags=re.M)
    return nb

def prune_sidebar(proc):
    "Leave out of the sidebar the pages that do not exist, and name them."
    import yaml
    p = proc/'sidebar.yml'
    bar, lost = yaml.safe_load(p.read_text()), []
    def keep(items):
        out = []
        for o in items:
            if isinstance(o, dict) and 'contents' in o:
                o = {**o, 'contents': keep(o['contents'])}
                if not o['contents']: continue
            else:
                f = o if isinstance(o, str) else o['href']
                if not (proc/f).exists(): lost.append(f); continue
            out.append(o)
        return out
    bar['website']['sidebar']['contents'] = keep(bar['website']['sidebar']['contents'])
    p.write_text(yaml.safe_dump(bar, sort_keys=False))
    if lost: print(f'nbs/sidebar.yml names pages that do not exist, left out: {", ".join(lost)}')

def lines_that_wrap(code):
    "The HTML of code, each long line in a `span` that continues below its own indent, with places to break at."
    out, carry = [], []
    for l in code.split('\n'):
        words = re.sub(r'<[^>]*>', '', l)
        line = ''.join(carry) + l
        for close,tag in re.findall(r'<(/?)(span[^>]*)>', l):
            if close: carry.pop()
            else: carry.append(f'<{tag}>')
        line += '</span>'*len(carry)
        line = re.sub(r'(?<![^\s(])(--?[A-Za-z][\w-]*-[\w-]+|--\w+|\w+ [+-]?\d[\w.+-]*(?=  |$))(?![^<]*>)', r'<span class="whole">\1</span>', line)
        if len(html.unescape(words)) > 36: # what a phone shows of a line
            line = re.sub(r'(?<=[,(\[{])(?!(?<=\d,)\d{3}\b)(?=(?:<[^>]*>)*[^\s<)\]}])', '<wbr>', line)
            line = f'<span class="line" style="--in:{len(words) - len(words.lstrip())}">{line}</span>'
        out.append(re.sub(r'^((?:<span[^>]*>)*)( {9,})', r'\1<span class="deep">\2</span>', line))
    return '\n'.join(out)

def is_grid(words):
    "Is it a table made of spaces, which may not wrap? A log is none, nor is one that no screen holds."
    lines = words.split('\n')
    return sum(bool(re.search(r'\S {2,}\S', o)) for o in lines) > 1 and max(map(len, lines)) <= 100 and not re.search(r'epoch +\d+/\d+ ', words)

def fit(out):
    "Make what is long fit the page: code and outputs wrap, but no option of a command; names in heads break after a dot or an underscore, scores of a training log keep four digits."
    def pre(m):
        if m[1] != '<pre>' or not is_grid(html.unescape(re.sub(r'<[^>]*>', '', m[3]))): return m[1] + m[2] + lines_that_wrap(m[3]) + '</code></pre>'
        return f'<pre class="grid">{m[2]}{m[3]}</code></pre>'
    def table(m):
        rows = re.findall(r'<tr>\s*<th>([^<]*)</th>\s*<td', m[0])
        plain = rows == [str(i) for i in range(len(rows))] and m[0].count('<tr') == len(rows) + 1
        whole = re.sub(r'(?<=[\d.]) ± (?=\d)', '\u00a0±\u00a0', m[0])
        return whole.replace('class="dataframe"', 'class="dataframe numbered"') if plain else whole
    def option(m): return m[1] + re.sub(r'(?<![^\s(])--?[A-Za-z][\w-]*', r'<span class="whole">\g<0></span>', m[2])
    def name(m): return m[1] + re.sub(r'(?<=\w)([._]+)(?=\w)', r'\1<wbr>', m[2])
    def log(m): return re.sub(r'<td>(\d+\.\d{6})</td>', lambda o: f'<td>{float(o[1]):#.4g}</td>', m[0])
    for p in out.rglob('*.html'):
        s = re.sub(r'(<pre[^>]*>)(<code[^>]*>)(.*?)</code></pre>', pre, p.read_text(encoding='utf-8'), flags=re.S)
        s = re.sub(r'((?<!<pre>)(?<!<pre class="grid">)<code>)([^<]* -[^<]*)(?=</code>)', option, s)
        s = re.sub(r'<table class="fastprogress">.*?</table>', log, s, flags=re.S)
        s = re.sub(r'<table[^>]* class="dataframe">.*?</table>', table, s, flags=re.S)
        s = re.sub(r'(<(?:h[1-4]|t[dh]|a(?= [^>]*nav-link))(?: [^>]*)?>(?:<code>)?)([A-Za-z_][\w.]*[._]\w+)(?=<)', name, s)
        p.write_text(s, encoding='utf-8')

def source_pages(out, cfg):
    "One page with the highlighted source of every module, for the `source` links of the API."
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer
    fmt = HtmlFormatter(linenos='inline', lineanchors='L', anchorlinenos=True, style='default')
    dark = HtmlFormatter(style='github-dark').get_style_defs('.highlight')
    css = f'''body{{margin:0 auto;max-width:70rem;padding:1rem;font:16px system-ui,sans-serif}} h1{{overflow-wrap:anywhere}} .highlight{{font-size:.8rem}} .highlight pre{{white-space:pre-wrap;overflow-wrap:anywhere}}
{fmt.get_style_defs('.highlight')} .highlight pre a,.highlight pre .linenos{{color:#6b7280;text-decoration:none}} :target{{background:#fde68a}}
@media (prefers-color-scheme:dark){{body{{background:#0d1117;color:#e6edf3}} a{{color:#79b8ff}}
{dark}}}'''
    (out/'source').mkdir(parents=True)
    for f in sorted(cfg.lib_path.glob('*.py')):
        if f.name.startswith('_'): continue
        page = out/f'{f.stem}.html'
        back = f'../{page.name}' if page.exists() else '../index.html'
        (out/'source'/f'{f.stem}.html').write_text(f'''<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>{cfg.lib_name}.{f.stem}, source</title>
<link rel="icon" href="../favicon.png"><style>{css}</style></head><body><main><h1>{cfg.lib_name}.{f.stem}</h1>
<p><a href="{back}">What it does, with examples</a></p>
{highlight(f.read_text(encoding='utf-8'), PythonLexer(), fmt)}</main></body></html>
''', encoding='utf-8')

def drop_numbers(out):
    "Name `00_color.html` `color.html`, as nbdev's links and Quarto do."
    new = {p.name: re.sub(r'^\d+[a-zA-Z0-9]*_', '', p.name) for p in out.rglob('*.html')}
    new = {k:v for k,v in new.items() if k != v}
    if not new: return
    pat = re.compile(r'\b(' + '|'.join(map(re.escape, new)) + r')\b')
    for p in [*out.rglob('*.html'), *out.glob('search.json'), *out.glob('sitemap.xml')]:
        p.write_text(pat.sub(lambda m: new[m[1]], p.read_text(encoding='utf-8')), encoding='utf-8')
        if p.name in new: p.rename(p.with_name(new[p.name]))

def notebooks(out):
    "Beside each page its notebook, and under the title a link to download it; the pages' names have no numbers yet."
    for p in out.rglob('*.html'):
        nb = (ROOT/'nbs'/p.relative_to(out)).with_suffix('.ipynb')
        if not nb.exists(): continue
        shutil.copyfile(nb, p.with_name(nb.name))
        s,link = p.read_text(encoding='utf-8'),f'<p class="notebook"><a href="{nb.name}" download>This page as a notebook</a></p>'
        p.write_text(s.replace('<div class="quarto-title-meta">', f'{link}<div class="quarto-title-meta">', 1), encoding='utf-8')

def local_links(out, cfg):
    "Make links to the published site and repository relative, so that the site works from any place and from disk."
    docs = cfg.doc_host.rstrip('/') + '/' + cfg.doc_baseurl.strip('/')
    docs = re.escape(docs.rstrip('/')) + '/'
    code = re.escape(cfg.git_url.rstrip('/')) + f'/blob/{cfg.branch}/{cfg.lib_path.name}/'
    pages = {p.relative_to(out).as_posix(): p for p in out.rglob('*.html')}
    ids = {n: set(re.findall(r'\bid="([^"]+)"', p.read_text(encoding='utf-8'))) for n,p in pages.items()}
    def symbol(m, up):
        "A name with a place of its own leads there, any other (a private name, a dispatched one) to its page"
        return f'href="{up}{m[1]}' + (f'#{m[2]}' if m[2] in ids.get(m[1], ()) else '') + '"'
    for n,p in pages.items():
        up = '../' * n.count('/')
        s = p.read_text(encoding='utf-8')
        s = re.sub(rf'href="{code}([^"#]*)\.py(?:#L(\d+))?', lambda m: f'href="{up}source/{m[1]}.html' + (f'#L-{m[2]}' if m[2] else ''), s)
        s = re.sub(rf'href="{docs}([^"#]*)(?:#([^"]*))?"', lambda m: symbol(m, up), s)
        # the address of a site that is not published is no help to anyone
        s = re.sub(r'<(?:meta|link)[^>]*(?:og:url|og:image|canonical)[^>]*>\s*', '', s) if '.example' in cfg.doc_host else s
        s = s.replace(' target="_blank"', '')
        p.write_text(s, encoding='utf-8')
    if '.example' in cfg.doc_host: (out/'sitemap.xml').unlink(missing_ok=True)

def site(cfg):
    "Build the site."
    from importlib.metadata import entry_points
    from nbdev.quarto import refresh_quarto_yml, nbdev_sidebar
    from nbdev.serve import proc_nbs
    from smalldocs.site import build
    if cfg.lib_name not in {o.name for o in entry_points(group='nbdev')}:
        sys.exit(f"{cfg.lib_name} is not installed, so names could not be linked; first run: pip install -e '.[dev]'")
    proc, out = ROOT/'_proc', ROOT/cfg.doc_path.name
    shutil.rmtree(proc, ignore_errors=True)
    refresh_quarto_yml()
    nbdev_sidebar.__wrapped__()
    proc_nbs(n_workers=0)
    for f in proc.rglob('*.ipynb'):
        f.write_text(json.dumps(plain_signatures(add_alts(json.loads(f.read_text(encoding='utf-8')))), ensure_ascii=False), encoding='utf-8')
    prune_sidebar(proc)
    built = build(proc)
    built.say(f'{len(built.pages)} pages')
    notebooks(built.out)
    drop_numbers(built.out)
    local_links(built.out, cfg)
    fit(built.out)
    source_pages(built.out, cfg)
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(built.out, out)
    bad = [w for w in built.warnings if 'broken link' in w]
    for w in built.warnings:
        if 'output-file is not read' not in w: print(('ERROR: ' if w in bad else 'note: ') + w)
    print(f'The site is in {out.name}/index.html')
    return 1 if bad else 0

# ---------------------------------------------------------------- the README

def readme(cfg):
    "Write README.md from the home notebook."
    from nbdev.processors import FilterDefaults, add_links, insert_warning
    from nbdev.serve_drv import exec_nb
    class Filter(FilterDefaults):
        def procs(self): return super().procs().filter(lambda x: x not in (add_links, insert_warning))
    nbs, pics = cfg.nbs_path, cfg.nbs_path/'images'
    with tempfile.TemporaryDirectory() as tmp:
        exec_nb(nbs/'index.ipynb', Path(tmp)/'index.ipynb', Filter)
        cells = json.loads((Path(tmp)/'index.ipynb').read_text(encoding='utf-8'))['cells']
    parts, files = [], {}
    def fence(s, lang=''): return f'```{lang}\n{s.rstrip()}\n```'
    for i,c in enumerate(cells):
        src = text(c['source']).strip('\n')
        if i == 0 and src.startswith('---'):
            import yaml
            front = yaml.safe_load(src.strip('-\n '))
            parts += [f"# {front['title']}"] + ([f"> {front['description']}"] if front.get('description') else [])
        elif c['cell_type'] != 'code': parts.append(src)
        else:
            opts, code = options(src)
            if code and opts.get('echo') != 'false': parts.append(fence(code, 'python'))
            for o in c.get('outputs', []):
                data = o.get('data', {})
                if o['output_type'] == 'stream': parts.append(fence(text(o['text'])))
                elif 'image/png' in data:
                    import base64
                    name = f'index_{len(files)+1}.png'
                    files[name] = base64.b64decode(text(data['image/png']))
                    parts.append(f"![{opts.get('fig-alt', 'Figure')}](images/{name})")
                elif 'text/html' in data: parts.append(re.sub(r'<style.*?</style>|<progress.*?</progress>', '', text(data['text/html']), flags=re.S).strip())
                elif 'text/markdown' in data: parts.append(text(data['text/markdown']))
                elif 'text/plain' in data: parts.append(fence(text(data['text/plain'])))
    md = '\n\n'.join(p for p in parts if p.strip()) + '\n'
    # a path in the notebook starts in nbs/, one in the README at the top of the checkout
    def place(m):
        p = m[2]
        return m[0] if re.match(r'[a-z]+:|#|/', p) else f'{m[1]}{os.path.normpath(os.path.join(nbs.name, p))}'
    md = re.sub(r'(\]\()([^)\s]+)', place, md)
    md = re.sub(r'(<img[^>]*src=")([^"]+)', place, md)
    def put(p, b):
        if not p.exists() or p.read_bytes() != b: p.write_bytes(b)
    pics.mkdir(exist_ok=True)
    for f in pics.glob('index_*.png'):
        if f.name not in files: f.unlink()
    for n,b in files.items(): put(pics/n, b)
    put(ROOT/'README.md', ('<!-- Made from nbs/index.ipynb by .ci/docs.py; change it there. -->\n\n' + md).encode())
    print(f'README.md is made from {nbs.name}/index.ipynb' + (f', with {len(files)} pictures' if files else ''))
    return 0

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--readme', action='store_true', help='make README.md instead of the site')
    args = p.parse_args()
    cfg = setup()
    sys.exit(readme(cfg) if args.readme else site(cfg))
