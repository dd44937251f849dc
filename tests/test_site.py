"""The docs site as a reader meets it: every link, every picture, at desktop and phone width, in a real browser.

COLORFAST_SITE names a folder with a site that is already built; otherwise `.ci/docs.py` builds it into `_docs/`.
"""
import json, os, re, shutil, subprocess, sys, threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
import pytest

ROOT = Path(__file__).resolve().parent.parent
WIDTHS = 1200,375 # px: a small desktop, a phone
SIDEWAYS = {1200: .01, 375: .05} # share of the site's code, outputs and tables that may scroll sideways: a phone holds no table of eight columns
BROKEN = {1200: 0, 375: 20} # words that may go on in the next line: in code a phone breaks what is longer than its line

@pytest.fixture(scope='module')
def site():
    if os.environ.get('COLORFAST_SITE'): return Path(os.environ['COLORFAST_SITE']).resolve()
    if not (ROOT/'.ci/docs.py').exists(): pytest.skip('there is no .ci/docs.py: the site is built from a checkout only')
    r = subprocess.run([sys.executable, str(ROOT/'.ci/docs.py')], cwd=ROOT, capture_output=True, text=True)
    assert r.returncode == 0, f'python .ci/docs.py failed:\n{r.stdout[-3000:]}\n{r.stderr[-3000:]}'
    return ROOT/'_docs'

class Page(HTMLParser):
    "The links, names, pictures and words of one page."
    def __init__(self, path):
        super().__init__()
        self.links,self.ids,self.images,self.alts = [],set(),[],[]
        self.feed(path.read_text(encoding='utf-8'))
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {a[k] for k in (('id', 'name') if tag == 'a' else ('id',)) if a.get(k)}
        for k in ('href', 'src'):
            if a.get(k): self.links.append(a[k])
        if tag == 'img':
            self.images.append(a.get('src', ''))
            if not (a.get('alt') or '').strip(): self.alts.append(a.get('src', '')[:60])

@pytest.fixture(scope='module')
def pages(site):
    ps = {p.relative_to(site).as_posix(): Page(p) for p in sorted(site.rglob('*.html')) if 'site_libs' not in p.parts}
    assert 'index.html' in ps
    return ps

def test_every_notebook_is_on_the_site_and_in_the_sidebar(pages):
    import yaml
    def walk(o):
        if isinstance(o, str): yield o
        elif isinstance(o, list):
            for i in o: yield from walk(i)
        elif isinstance(o, dict): yield from walk([o[k] for k in ('href', 'contents', 'sidebar', 'website') if k in o])
    listed = set(walk(yaml.safe_load((ROOT/'nbs/sidebar.yml').read_text())))
    nbs = {p.relative_to(ROOT/'nbs').as_posix() for p in ROOT.glob('nbs/**/*.ipynb') if not any(o[0] in '._' for o in p.relative_to(ROOT/'nbs').parts)}
    assert not nbs-listed, f'not in nbs/sidebar.yml: {sorted(nbs-listed)}'
    assert not listed-nbs, f'nbs/sidebar.yml names notebooks that do not exist: {sorted(listed-nbs)}'
    lost = [o for o in nbs if re.sub(r'(^|/)\d+[a-zA-Z0-9]*_', r'\1', o).replace('.ipynb', '.html') not in pages]
    assert not lost, f'not on the site: {lost}'

def test_every_page_has_its_notebook(site, pages):
    for p,page in pages.items():
        if p.startswith('source/') or '/source/' in p: continue
        nb = [o for o in page.links if o.endswith('.ipynb')]
        assert nb, f'{p} has no link to its notebook'
        assert 'cells' in json.loads((site/p).with_name(nb[0]).read_text(encoding='utf-8'))

def test_no_markdown_is_left(site, pages):
    bad = {n:m[0] for n in pages if (m := re.search(r'[^\n<>]{,40}\]\(http[^)\n]*', (site/n).read_text(encoding='utf-8')))}
    assert not bad, f'links that are shown as they are typed: {bad}'

def test_links(site, pages):
    bad = []
    for name,page in pages.items():
        for link in page.links:
            u = urlsplit(link)
            if u.scheme or u.netloc: continue
            to = (site/name).parent/unquote(u.path) if u.path else site/name
            if to.is_dir(): to = to/'index.html'
            if not to.exists(): bad.append(f'{name}: {link}: no such file')
            elif u.fragment and to.suffix == '.html':
                other = pages.get(to.resolve().relative_to(site.resolve()).as_posix())
                if other and unquote(u.fragment) not in other.ids: bad.append(f'{name}: {link}: no such place on the page')
    assert not bad, 'broken links:\n' + '\n'.join(bad)

def test_no_unfinished_links(site):
    bad = [f'{p.relative_to(site)}: {m[0][:120]}' for p in site.rglob('*.html') for m in re.finditer(r'(?:href|src)="[^"]*\.example[^"]*"|\{target=', p.read_text(encoding='utf-8'))]
    assert not bad, 'links to a site or repository that is not published:\n' + '\n'.join(bad)

def test_needs_no_network(site, pages):
    bad = []
    for name in pages:
        s = (site/name).read_text(encoding='utf-8')
        bad += [f'{name}: {m[0][:150]}' for m in re.finditer(r'<(?:script|img|link|iframe)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"[^>]*>', s)]
    assert not bad, 'pages load parts from other sites, and would break without a network:\n' + '\n'.join(bad)

def test_alt_texts(pages):
    bad = {k: p.alts for k,p in pages.items() if p.alts}
    assert not bad, f'pictures without alt text (`#| fig-alt: ...` in the cell): {bad}'

def test_page_weight(site, pages):
    "With all its own pictures a page stays below 2 MB."
    for name,page in pages.items():
        files = {(site/name).parent/unquote(urlsplit(o).path) for o in page.images if not o.startswith('data:')}
        n = (site/name).stat().st_size + sum(f.stat().st_size for f in files if f.exists())
        assert n < 2e6, f'{name} weighs {n/1e6:.1f} MB with its pictures; keep it below 2 MB'

def test_light_and_dark(site):
    s = (site/'index.html').read_text(encoding='utf-8')
    assert 'prefers-color-scheme: dark' in s and 'quarto-color-scheme' in s

HARNESS = r'''<!doctype html><body><script>
const wait = ms => new Promise(r => setTimeout(r, ms))
const name = e => e.tagName.toLowerCase() + (e.id ? '#'+e.id : '') + (e.className && e.className.split ? '.'+e.className.split(' ').join('.') : '')
function blocks(d) { // code, outputs, logs and tables, and those of which a part is out of sight
  const side = [], style = e => d.defaultView.getComputedStyle(e), all = [...d.querySelectorAll('main pre, main table')].filter(e => e.offsetWidth && !e.closest('pre table, td pre'))
  for (const e of all) {
    let box = e
    while (box.tagName != 'MAIN' && !/auto|scroll|hidden|clip/.test(style(box).overflowX)) box = box.parentElement
    const over = (box.tagName == 'MAIN' ? e.getBoundingClientRect().right - box.getBoundingClientRect().right : box.scrollWidth - box.clientWidth)
    if (over > 1) side.push([Math.round(over), name(e), e.textContent.trim().split('\n').sort((a, b) => b.length - a.length)[0].slice(0, 130)])
  }
  return {blocks: all.length, side}
}
function broken(d) { // words and numbers of the text that go on in the next line
  const walk = d.createTreeWalker(d.querySelector('main'), NodeFilter.SHOW_TEXT), r = d.createRange(), out = []
  const lines = () => new Set([...r.getClientRects()].filter(o => o.width > .5).map(o => Math.round(o.top))).size
  for (const e of d.querySelectorAll('main wbr')) // a place to break at is none between the digits of a number
    if (/\d\.$/.test(e.previousSibling?.data) && /^\d/.test(e.nextSibling?.data)) out.push(e.previousSibling.data + e.nextSibling.data)
  for (let t; t = walk.nextNode();) {
    if (t.parentElement.closest('script, style, .MathJax, math')) continue
    r.selectNodeContents(t)
    if (lines() < 2) continue
    for (const m of t.data.matchAll(/\d[\d.,]*\d|\p{L}+/gu)) {
      r.setStart(t, m.index); r.setEnd(t, m.index + m[0].length)
      if (lines() > 1) out.push((t.parentElement.closest('pre') ? 'code: ' : '') + m[0])
    }
  }
  return out
}
function contrast(d) { // of a search result in its panel, as in WCAG 2, section 1.4.3; from 4.5 it is readable
  const box = d.querySelector('.smalldocs-search')
  if (!box) return null
  box.insertAdjacentHTML('beforeend', '<div class="dropdown-menu smalldocs-search-results show"><div class="search-result-text">x</div></div>')
  const panel = box.lastElementChild, rgb = (e, k) => d.defaultView.getComputedStyle(e)[k].match(/[\d.]+/g).map(Number)
  const under = rgb(panel, 'backgroundColor'), [r, g, b, a = 1] = rgb(panel.firstElementChild, 'color')
  const light = c => { const [r, g, b] = c.map(o => o/255).map(o => o <= .04045 ? o/12.92 : ((o + .055)/1.055)**2.4); return .2126*r + .7152*g + .0722*b + .05 }
  const [x, y] = [light([r, g, b].map((o, i) => a*o + (1 - a)*under[i])), light(under.slice(0, 3))]
  panel.remove(); return Math.max(x, y)/Math.min(x, y)
}
async function look(page) {
  const f = document.createElement('iframe'), out = []
  f.style.cssText = `width:${WIDTHS[0]}px;height:900px;border:0`
  const loaded = new Promise(r => f.onload = r)
  f.src = '/' + page; document.body.append(f)
  await Promise.race([loaded, wait(20000)]); await wait(100)
  const d = f.contentDocument, missing = [], text = d.body.innerText.trim().length
  for (const i of d.images) { i.loading = 'eager'; await i.decode().catch(() => 0); if (!i.naturalWidth) missing.push(i.getAttribute('src').slice(0, 80)) }
  for (const e of d.querySelectorAll('main details')) e.open = true
  for (const width of WIDTHS) {
    f.style.width = width + 'px'; await wait(50)
    const w = d.documentElement.clientWidth, res = {page, width, wide: [], images: missing, text}
    d.defaultView.scrollTo(1000, 0); res.moved = d.defaultView.scrollX; d.defaultView.scrollTo(0, 0)
    for (const e of d.querySelectorAll('main *')) { // what stands out to the right, and no box of its own to scroll it in
      if (res.wide.length > 3 || e.getBoundingClientRect().right <= w + 1 || !e.offsetWidth) continue
      let up = e
      while (up && !/auto|scroll/.test(d.defaultView.getComputedStyle(up).overflowX)) up = up.parentElement
      if (!up) res.wide.push(name(e))
    }
    out.push(Object.assign(res, blocks(d), {words: broken(d), contrast: contrast(d)}))
  }
  f.remove(); return out
}
(async () => {
  const out = []
  for (const p of PAGES) out.push(...await look(p).catch(e => WIDTHS.map(width => ({page: p, width, failed: String(e)}))))
  await fetch('/__report__', {method: 'POST', body: JSON.stringify(out)})
})()
</script>'''

class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass
    def send_error(self, code, *args, **kwargs):
        if 'favicon.ico' not in self.path: self.server.missing.append(f'{self.path} ({code}), on {self.headers.get("Referer", "?")}')
        super().send_error(code, *args, **kwargs)
    def do_GET(self):
        if not self.path.startswith('/__harness__'): return super().do_GET()
        body = HARNESS.replace('PAGES', json.dumps([quote(o) for o in self.server.pages])).replace('WIDTHS', json.dumps(WIDTHS)).encode()
        self.send_response(200); self.send_header('Content-Type', 'text/html; charset=utf-8'); self.send_header('Content-Length', str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.server.report = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        self.send_response(204); self.end_headers(); self.server.done.set()

def look_at(site, pages, tmp):
    "What a headless Chromium sees of every page at every width, what it asked for in vain, and its console."
    exe = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'chrome'))), None)
    if not exe: pytest.skip('there is no Chromium here (Debian: apt install chromium): the pages were not looked at in a browser')
    srv = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(site)))
    srv.pages,srv.missing,srv.report,srv.done = list(pages),[],None,threading.Event()
    threading.Thread(target=srv.serve_forever, daemon=True).start()
    flags = '--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --enable-logging=stderr'
    with open(tmp/'log', 'w') as log:
        p = subprocess.Popen([exe, *flags.split(), f'--user-data-dir={tmp/"profile"}', '--window-size=1300,1000', '--remote-debugging-port=0',
                              f'http://127.0.0.1:{srv.server_port}/__harness__'], stdout=subprocess.DEVNULL, stderr=log)
        try: done = srv.done.wait(60 + 3*len(pages))
        finally: p.terminate(); p.wait(20); srv.shutdown()
    text = (tmp/'log').read_text(errors='replace')
    assert done, f'Chromium did not finish:\n{text[-3000:]}'
    return dict(report=srv.report, missing=srv.missing, console=[l for l in text.splitlines() if 'CONSOLE' in l])

@pytest.fixture(scope='module')
def seen(site, pages, tmp_path_factory): return look_at(site, pages, tmp_path_factory.mktemp('chromium'))

def test_pages_open(seen, pages):
    assert len(seen['report']) == len(pages)*len(WIDTHS)
    bad = [o for o in seen['report'] if o.get('failed') or o['text'] < 40]
    assert not bad, f'pages that did not open: {bad}'

def test_nothing_missing(seen):
    assert not seen['missing'], 'files that pages ask for in vain:\n' + '\n'.join(seen['missing'])
    bad = {o['page']: o['images'] for o in seen['report'] if o.get('images')}
    assert not bad, f'pictures that do not show: {bad}'

def test_no_console_messages(seen):
    assert not seen['console'], 'the browser complains:\n' + '\n'.join(seen['console'])

@pytest.mark.parametrize('width', WIDTHS)
def test_no_sideways_scrolling(seen, width):
    bad = [f"{o['page']}: {'scrolls' if o['moved'] else 'is cut off'} at {o['wide'] or 'a part outside the text'}" for o in seen['report'] if o['width'] == width and (o['moved'] or o['wide'])]
    assert not bad, f'pages that are wider than {width} px:\n' + '\n'.join(bad)

@pytest.mark.parametrize('width', WIDTHS)
def test_blocks_fit(seen, width):
    "Code, outputs, logs and tables are seen whole, but for a small share."
    at = [o for o in seen['report'] if o['width'] == width]
    n,side = sum(o['blocks'] for o in at),sorted((len(o['side']), o['page'], o['side'][:3]) for o in at if o['side'])[::-1]
    k = sum(o[0] for o in side)
    assert k <= SIDEWAYS[width]*n, f'{k} of {n} blocks scroll sideways at {width} px, at most {SIDEWAYS[width]:.0%} may:\n' + '\n'.join(f'{p}: {m}, such as {b}' for m,p,b in side)

@pytest.mark.parametrize('width', WIDTHS)
def test_no_word_breaks(seen, width):
    bad = {o['page']: o['words'] for o in seen['report'] if o['width'] == width and o['words'] and not o['page'].startswith('source/')}
    assert sum(map(len, bad.values())) <= BROKEN[width], f'words and numbers that go on in the next line at {width} px: {bad}'

def test_search_results_are_readable(seen):
    bad = {o['page']: round(o['contrast'], 1) for o in seen['report'] if o['contrast'] and o['contrast'] < 4.5}
    assert not bad, f'search results have too little contrast (4.5 is the least): {bad}'
