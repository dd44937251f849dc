"Damaged, odd and missing data, as real files: an item is left out and named, a whole set stops with one line."
import json,os,resource,subprocess,sys,textwrap,threading,time,warnings
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image, TiffImagePlugin
from colorfast.images import *
from colorfast.sources import *
from colorfast.data import *

RNG = np.random.RandomState(0)

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('COLORFAST_CACHE', str(tmp_path/'cache'))
    return tmp_path/'cache'

def pixels(w=40, h=30): return Image.fromarray(RNG.randint(0, 255, (h//5+1,w//5+1,3)).astype(np.uint8)).resize((w,h), Image.BILINEAR)
def pics(d, names, w=40, h=30):
    d.mkdir(parents=True, exist_ok=True)
    for n in names: pixels(w,h).save(d/n)
    return [d/n for n in names]

def left_out(f, *args, **kwargs):
    "What `f` gives, and the lines it warned with"
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        res = f(*args, **kwargs)
    return res,[str(o.message) for o in w if issubclass(o.category, UserWarning) and 'left out' in str(o.message)]

# ---- pictures ----

def test_broken_files_are_named_and_the_rest_is_used(tmp_path):
    d = tmp_path/'pics'
    good = pics(d, [f'{i}.jpg' for i in range(8)])
    (d/'empty.jpg').touch()
    (d/'text.jpg').write_text('<html>404</html>')
    (d/'cut.jpg').write_bytes(good[0].read_bytes()[:300])
    (d/'cut.png').write_bytes(b'\x89PNG\r\n\x1a\n'+b'\0'*20)
    dls,w = left_out(ColorizeDataLoaders.from_folder, d, size=16, bs=4)
    assert len(w)==1 and '\n' not in w[0] and w[0].startswith('4 of 12 pictures left out')
    for n in ('empty.jpg: empty file','text.jpg: not a picture','cut.jpg: damaged','cut.png'): assert n in w[0]
    assert {Path(o).name for o in dls.left_out}=={'empty.jpg','text.jpg','cut.jpg','cut.png'}
    assert len(dls.train_ds)+len(dls.valid_ds)==8 and not set(map(str,dls.train_ds.items))&set(dls.left_out)

MODES = {'CMYK':('jpg',0), 'L':('png',1), 'LA':('png',1), '1':('png',1), 'P':('gif',0), 'RGBA':('png',0), 'YCbCr':('jpg',0), 'I;16':('png',1), 'I':('tif',1), 'F':('tif',1)}
@pytest.mark.parametrize('mode', MODES)
def test_every_mode_becomes_rgb(tmp_path, mode):
    im,(ext,gray) = pixels(),MODES[mode]
    if mode in ('I;16','I'): x = Image.fromarray((np.asarray(im.convert('L')).astype(np.uint16 if mode=='I;16' else np.int32)*257))
    elif mode=='F': x = Image.fromarray(np.asarray(im.convert('L')).astype(np.float32)/255)
    else: x = im.convert(mode)
    f = tmp_path/f'x.{ext}'
    x.save(f, **(dict(quality=98, subsampling=0) if ext=='jpg' else {}))
    a = np.asarray(open_photo(f)).astype(int)
    want = np.asarray((x if mode=='1' else im.convert('L') if gray else im).convert('RGB')).astype(int)
    assert a.shape==(30,40,3) and np.abs(a-want).mean()<(1 if mode in '1ILALI;16F' else 3 if ext=='jpg' else 20) # JPEG rounds, a GIF has few colors

def test_transparent_pixels_are_white(tmp_path):
    a = np.zeros((4,4,4), np.uint8); a[:2,:,3] = 255
    Image.fromarray(a, 'RGBA').save(tmp_path/'a.png')
    p = Image.new('P', (4,4)); p.putpalette([0,0,0, 9,9,9]); p.save(tmp_path/'p.png', transparency=0)
    assert np.asarray(open_photo(tmp_path/'a.png'))[:,0,0].tolist()==[0,0,255,255]
    assert np.asarray(open_photo(tmp_path/'p.png')).min()==255

def test_animation_gives_its_first_frame(tmp_path):
    ims = [Image.new('RGB', (8,8), c) for c in ('red','lime','blue')]
    for ext in ('gif','webp','png'):
        ims[0].save(tmp_path/f'a.{ext}', save_all=True, append_images=ims[1:], duration=50, **({'lossless':True} if ext=='webp' else {}))
        assert np.asarray(open_photo(tmp_path/f'a.{ext}'))[4,4].tolist()==[255,0,0]

@pytest.mark.parametrize('tag', range(1,9))
def test_exif_orientation(tmp_path, tag):
    from PIL import ImageOps
    a = np.zeros((32,48,3), np.uint8); a[:16,:16,0] = a[:16,-16:,1] = a[-16:,:16,2] = 255
    exif = Image.Exif(); exif[0x0112] = tag
    Image.fromarray(a).save(tmp_path/'x.jpg', exif=exif, quality=95, subsampling=0)
    want = ImageOps.exif_transpose(Image.open(tmp_path/'x.jpg')).convert('RGB')
    got = open_photo(tmp_path/'x.jpg')
    assert tuple(got.size)==tuple(want.size) and np.array_equal(np.asarray(got), np.asarray(want))

def test_damaged_exif_is_ignored(tmp_path):
    pixels().save(tmp_path/'x.jpg', exif=b'Exif\0\0'+b'\x49\x49\x2a\0\xff\xff\xff\x7f'+b'\xff'*40)
    assert tuple(open_photo(tmp_path/'x.jpg').size)==(40,30)

@pytest.mark.parametrize('wh', [(1,1),(1,3000),(3000,1),(2,5000),(5000,3)])
@pytest.mark.parametrize('method', ['crop','squish','pad'])
def test_tiny_and_extremely_long(tmp_path, wh, method):
    fs = pics(tmp_path/'p', [f'{i}.png' for i in range(4)], *wh)
    dls = ColorizeDataLoaders.from_files(fs, size=49, bs=2, method=method)
    assert [o.shape for o in dls.one_batch()]==[(2,1,49,49),(2,2,49,49)]

def test_decompression_bomb(tmp_path, monkeypatch):
    fs = pics(tmp_path/'p', [f'{i}.png' for i in range(4)])
    Image.new('1', (1200,1000)).save(tmp_path/'p/bomb.png')
    Image.new('1', (3000,2000)).save(tmp_path/'p/larger bomb.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10**6)
    dls,w = left_out(ColorizeDataLoaders.from_folder, tmp_path/'p', size=16, bs=2)
    assert len(dls.left_out)==2 and 'MAX_IMAGE_PIXELS' in w[0] and 'bomb.png' in w[0] and 'larger bomb.png' in w[0]

def test_unicode_spaces_and_unprintable_names(tmp_path, capsys):
    names = ['ä ö ü.jpg','猫 と 犬.jpg',"it's 100%.jpg",'a\nb.jpg','#hash;semi.jpg',' lead.jpg']
    fs = pics(tmp_path/'dir with späces', names)
    raw = os.fsencode(str(tmp_path/'dir with späces'))+b'/\xff\xfe.jpg'
    try: Path(os.fsdecode(raw)).write_bytes(b'')
    except OSError: raw = None # a file system that refuses such names
    dls,w = left_out(ColorizeDataLoaders.from_folder, tmp_path/'dir with späces', size=16, bs=2)
    assert len(dls.train_ds)+len(dls.valid_ds)==len(names)
    if raw: w[0].encode('utf-8')
    assert len(dls.one_batch()[0])==2

def test_gray_photographs(tmp_path, capsys):
    d = tmp_path/'p'
    pics(d, [f'{i}.jpg' for i in range(6)], 64, 64)
    for n in ('gray1.jpg','gray2.png'): pixels(64,64).convert('L').save(d/n)
    pixels(64,64).convert('L').convert('RGB').save(d/'gray3.jpg', quality=60)
    dls = ColorizeDataLoaders.from_folder(d, size=32, bs=2)
    assert {Path(o).name for o in dls.gray}=={'gray1.jpg','gray2.png','gray3.jpg'}
    assert '3 gray photographs left out' in capsys.readouterr().out
    assert len(dls.train_ds)+len(dls.valid_ds)==6
    dls = ColorizeDataLoaders.from_folder(d, size=32, bs=2, drop_gray=0)
    assert len(dls.train_ds)+len(dls.valid_ds)==9 and not dls.gray

# ---- folders ----

def test_missing_empty_and_tiny_folders(tmp_path, capsys):
    for f in (ColorizeDataLoaders.from_folder, ColorizeDataLoaders.from_coco, ColorizeDataLoaders.from_voc, MultilabelDataLoaders.from_coco,
              MultilabelDataLoaders.from_voc, SegmentDataLoaders.from_coco, SegmentDataLoaders.from_voc, SegmentDataLoaders.from_folder, find_kind):
        with pytest.raises(DataError, match='does not exist'): f(tmp_path/'gone')
        (tmp_path/'empty').mkdir(exist_ok=True)
        with pytest.raises(DataError, match='found nothing') as e: f(tmp_path/'empty')
        assert '\n' not in str(e.value)
        (tmp_path/'file').touch()
        with pytest.raises(DataError, match='expected a folder'): f(tmp_path/'file')
    fs = pics(tmp_path/'few', ['a.jpg','b.jpg'])
    with pytest.raises(DataError, match='2 usable training pictures, expected at least 3'): ColorizeDataLoaders.from_files(fs)
    dls = ColorizeDataLoaders.from_files(fs+pics(tmp_path/'few', ['c.jpg']), bs=64, size=16)
    assert dls.bs==2 and len(dls.train)==1 and 'batches of 2 instead of 64' in capsys.readouterr().out

def test_splits_are_honored_with_any_year(tmp_path):
    for s,n in (('unlabeled2017',5),('train2014',4),('train2017',4),('val2017',3),('test2017',2)): pics(tmp_path/s, [f'{s}{i}.jpg' for i in range(n)])
    dls = ColorizeDataLoaders.from_folder(tmp_path, size=16, bs=2)
    assert [len(o.dataset) for o in dls]==[5,3,2] and len(dls.loaders)==3
    dls = ColorizeDataLoaders.from_folder(tmp_path, train='train', size=16, bs=2)
    assert {o.parent.name for o in dls.train_ds.items}=={'train2017'}
    dls = ColorizeDataLoaders.from_coco(tmp_path, train='train2014', size=16, bs=2)
    assert {o.parent.name for o in dls.train_ds.items}=={'train2014'}

def test_test_pictures_are_never_trained_on(tmp_path, capsys):
    fs = pics(tmp_path/'p', [f'{i}.jpg' for i in range(9)])
    dls = ColorizeDataLoaders.from_files(fs, fs[5:8], fs[7:], size=16, bs=2)
    assert [[o.name for o in dl.dataset.items] for dl in dls]==[[f'{i}.jpg' for i in r] for r in (range(5),(5,6),(7,8))]
    assert 'they are in a later split too' in capsys.readouterr().out
    pics(tmp_path/'q', [f'{i}.jpg' for i in range(5)]); pics(tmp_path/'q/test', ['t.jpg'])
    dls = ColorizeDataLoaders.from_folder(tmp_path/'q', size=16, bs=2) # only a test split is named: the rest is for training
    assert 't.jpg' not in {o.name for dl in list(dls)[:2] for o in dl.dataset.items}

def test_random_split_does_not_depend_on_what_was_drawn_before(tmp_path):
    fs = pics(tmp_path/'p', [f'{i}.jpg' for i in range(20)])
    a = ColorizeDataLoaders.from_files(fs, size=16, bs=2, valid_pct=.3).valid_ds.items
    np.random.rand(7); torch.manual_seed(3); before = torch.rand(1)
    torch.manual_seed(3)
    b = ColorizeDataLoaders.from_files(fs, size=16, bs=2, valid_pct=.3).valid_ds.items
    assert list(a)==list(b) and len(a)==6

# ---- COCO ----

def box(x, y, w, h): return [[x,y, x+w,y, x+w,y+h, x,y+h]]
def coco(root, anns, n=5, split='train', wh=(20,10), cats=((3,'cat'),(8,'dog'),(90,'tree')), save=True, **kwargs):
    if save: pics(root/f'{split}2017', [f'{i}.jpg' for i in range(n)], *wh)
    (root/'annotations').mkdir(parents=True, exist_ok=True)
    d = dict(images=[dict(id=100+7*i, file_name=f'{i}.jpg', width=wh[0], height=wh[1]) for i in range(n)],
             annotations=[dict(dict(id=i, iscrowd=0, area=1, bbox=[0,0,1,1]), **a) for i,a in enumerate(anns)], categories=[dict(id=i, name=c) for i,c in cats])
    fn = root/f'annotations/instances_{split}2017.json'
    fn.write_text(json.dumps({**d, **kwargs}))
    return fn
def ann(i, c, seg=None, **kwargs): return dict(image_id=100+7*i, category_id=c, segmentation=box(0,0,5,5) if seg is None else seg, **kwargs)
def target(dls, fn): return dls.test_dl([Path(fn)], with_labels=True).one_batch()[1][0]

def test_category_numbers_with_gaps(tmp_path):
    coco(tmp_path, [ann(0,90),ann(1,3),ann(1,8)])
    dls = MultilabelDataLoaders.from_coco(tmp_path, size=16, bs=2)
    assert list(dls.vocab)==['cat','dog','tree']
    assert target(dls, tmp_path/'train2017/0.jpg').tolist()==[0,0,1] and target(dls, tmp_path/'train2017/1.jpg').tolist()==[1,1,0]
    assert target(dls, tmp_path/'train2017/4.jpg').tolist()==[0,0,0] # a picture with nothing in it is a good one
    dls = SegmentDataLoaders.from_coco(tmp_path, size=(10,20), bs=2)
    assert set(target(dls, tmp_path/'train2017/0.jpg').unique().tolist())=={0,3}

def test_validation_categories_are_matched_by_name(tmp_path):
    coco(tmp_path, [ann(0,3),ann(1,8)])
    coco(tmp_path, [ann(0,1),ann(1,2)], split='val', cats=((1,'dog'),(2,'cat')))
    dls = MultilabelDataLoaders.from_coco(tmp_path, size=16, bs=2)
    assert target(dls, tmp_path/'val2017/0.jpg').tolist()==[0,1,0] and target(dls, tmp_path/'val2017/1.jpg').tolist()==[1,0,0]

def test_crowds(tmp_path):
    coco(tmp_path, [ann(0,3,iscrowd=1), ann(1,3,iscrowd=1), ann(1,3,box(10,0,5,5))])
    dls = MultilabelDataLoaders.from_coco(tmp_path, size=16, bs=2)
    assert target(dls, tmp_path/'train2017/0.jpg').tolist()==[0,0,0] and target(dls, tmp_path/'train2017/1.jpg').tolist()==[1,0,0]
    dls = SegmentDataLoaders.from_coco(tmp_path, size=(10,20), bs=2)
    m = target(dls, tmp_path/'train2017/1.jpg')
    assert (m[:5,:5]==255).all() and (m[:5,10:15]==1).all() and (m[6:]==0).all()

def test_layouts_of_fastai(tmp_path):
    "PASCAL_2007, COCO_SAMPLE: names and places as `untar_data` leaves them"
    p = tmp_path/'pascal_2007'
    pics(p/'train', [f'00000{i}.jpg' for i in range(6)]); pics(p/'test', ['000008.jpg','000009.jpg']); (p/'segmentation').mkdir()
    for i in (0,1,4): Image.fromarray(np.full((30,40), i, np.uint8)).save(p/f'segmentation/00000{i}.png')
    def rows(ids): return json.dumps(dict(images=[dict(id=i, file_name=f'00000{i}.jpg', width=40, height=30) for i in ids], type='instances',
        annotations=[dict(id=i, image_id=i, category_id=7, iscrowd=0, ignore=0, bbox=[1,1,5,5], area=25, segmentation=box(1,1,5,5)) for i in ids], categories=[dict(id=6,name='bus'),dict(id=7,name='car')]))
    for s,ids in (('train',range(4)),('valid',(4,5)),('test',(8,9))): (p/f'{s}.json').write_text(rows(ids))
    (p/'train.csv').write_text('fname,labels,is_valid\n'+''.join(f"00000{i}.jpg,{'car bus' if i%2 else 'car'},{i>3}\n" for i in range(6)))
    (p/'test.csv').write_text('fname,labels\n000008.jpg,car\n000009.jpg,bus\n')
    assert find_kind(p)=='voc'
    dls = MultilabelDataLoaders.from_voc(p, size=16, bs=2)
    assert [len(o.dataset) for o in dls.loaders]==[4,2,2] and list(dls.vocab)==['bus','car']
    assert target(dls, p/'train/000001.jpg').tolist()==[0,1]
    dls = SegmentDataLoaders.from_voc(p, size=16, bs=2)
    assert [len(o.dataset) for o in dls.loaders]==[2,1] and dls.c==21 and len(dls.vocab)==21
    assert target(dls, p/'train/000001.jpg').unique().tolist()==[1]
    assert [len(o.dataset) for o in ColorizeDataLoaders.from_voc(p, size=16, bs=2, drop_gray=0).loaders]==[5,1,2]
    for s in ('train','valid','test'): (p/f'{s}.json').unlink() # the table alone
    dls = MultilabelDataLoaders.from_voc(p, size=16, bs=2)
    assert [len(o.dataset) for o in dls.loaders][:2]==[4,2] and target(dls, p/'train/000001.jpg').tolist()==[1,1]
    q = tmp_path/'coco_sample'
    coco(q, [ann(i,3) for i in range(4)]); (q/'train2017').rename(q/'train_sample'); (q/'annotations/instances_train2017.json').rename(q/'annotations/instances_train_sample.json')
    assert find_kind(q)=='coco'
    dls = ColorizeDataLoaders.from_coco(q, size=16, bs=2, drop_gray=0)
    assert len(dls.train_ds)+len(dls.valid_ds)==5
    assert target(MultilabelDataLoaders.from_coco(q, size=16, bs=2), q/'train_sample/1.jpg').tolist()==[1,0,0]

def test_coco_masks_have_one_vocab(tmp_path):
    coco(tmp_path, [ann(0,90),ann(1,3),ann(1,8)])
    dls = SegmentDataLoaders.from_coco(tmp_path, size=(10,20), bs=2)
    assert list(dls.vocab)==['background','cat','dog','tree'] and dls.c==4

def test_small_objects_lie_on_large_ones(tmp_path):
    for order in (0,1):
        anns = [ann(0,3,box(0,0,20,10)), ann(0,8,box(5,2,4,4))]
        coco(tmp_path/str(order), anns[::-1] if order else anns)
        m = target(SegmentDataLoaders.from_coco(tmp_path/str(order), size=(10,20), bs=2), tmp_path/str(order)/'train2017/0.jpg')
        assert (m[2:6,5:9]==2).all() and (m==2).sum()==16 and (m==1).sum()==184

def test_annotations_of_what_is_not_there(tmp_path):
    coco(tmp_path, [ann(0,3), dict(image_id=5, category_id=3), ann(1,77), dict(category_id=3)])
    dls,w = left_out(MultilabelDataLoaders.from_coco, tmp_path, size=16, bs=2)
    assert '3 annotations left out' in w[0] and 'picture 5' in w[0] and 'category 77' in w[0] and 'instances_train2017.json' in w[0]
    (tmp_path/'train2017/2.jpg').unlink()
    dls,w = left_out(MultilabelDataLoaders.from_coco, tmp_path, size=16, bs=2)
    assert any('1 of 5 pictures left out: 2.jpg: no such file' in o for o in w)

BAD_SEGS = dict(empty=[], none=None, point=[[1,1]], line=[[1,1,3,3]], odd=[[1,1,3,3,2]], flat=[[1,1,1,1,1,1]], nan=[[1,1,float('nan'),2,3,3]], huge=[[0,0,1e30,0,1e30,1e30]],
                text='nothing', words=[['a','b','c','d','e','f']], short_rle=dict(counts=[5], size=[10,20]), other_rle=dict(counts=[100], size=[10,10]),
                negative=dict(counts=[-5,205], size=[10,20]), garbage=dict(counts='~~~~', size=[10,20]), no_counts=dict(size=[10,20]))
def test_segmentations_that_outline_nothing(tmp_path):
    anns = [ann(i,3) for i in range(5)]+[{**ann(1,8), 'segmentation':o} for o in BAD_SEGS.values()]
    coco(tmp_path, anns)
    dls,w = left_out(SegmentDataLoaders.from_coco, tmp_path, size=(10,20), bs=2)
    assert f'{len(BAD_SEGS)} annotations left out, they outline nothing: in 1.jpg' in w[0] and len(w)==1
    m = target(dls, tmp_path/'train2017/1.jpg')
    assert set(m.unique().tolist())=={0,1}

def test_boxes_outside_the_image(tmp_path):
    coco(tmp_path, [ann(0,3,box(15,5,100,100)), ann(1,3,box(-50,-50,55,55)), ann(2,3,box(100,100,5,5))])
    dls,w = left_out(SegmentDataLoaders.from_coco, tmp_path, size=(10,20), bs=2)
    assert (target(dls, tmp_path/'train2017/0.jpg')==1).sum()==25 and (target(dls, tmp_path/'train2017/1.jpg')==1).sum()==25

def test_json_missing_cut_off_and_foreign(tmp_path):
    fn = coco(tmp_path, [ann(0,3)])
    whole = fn.read_text()
    for f in (MultilabelDataLoaders.from_coco, SegmentDataLoaders.from_coco):
        for text,msg in ((whole[:len(whole)//2],'cut off'),('','cut off'),('[1,2]','expected .images.'),('{"a":1}',"found a"),('{"images":[]}','no pictures|no usable|names no')):
            fn.write_text(text)
            with pytest.raises(DataError, match=msg) as e: f(tmp_path, size=16)
            assert '\n' not in str(e.value) and 'instances_train2017.json' in str(e.value)
        fn.write_bytes(b'\x80\x81\xff')
        with pytest.raises(DataError, match='not a text file'): f(tmp_path, size=16)
    fn.rename(fn.with_name('captions_train2017.json'))
    with pytest.raises(DataError, match=r'looked for annotations/instances_train\*.json.*found captions_train2017.json'): MultilabelDataLoaders.from_coco(tmp_path)
    assert len(ColorizeDataLoaders.from_coco(tmp_path, size=16, bs=2).train_ds)>0 # which needs no annotations

def test_pictures_of_a_json_in_no_folder(tmp_path):
    coco(tmp_path, [ann(0,3)], save=False)
    with pytest.raises(DataError, match='its pictures .* are in none of'): MultilabelDataLoaders.from_coco(tmp_path)

def test_splits_that_are_missing_are_said(tmp_path, capsys):
    coco(tmp_path, [ann(i,3) for i in range(5)])
    dls = MultilabelDataLoaders.from_coco(tmp_path, size=16, bs=2)
    out = capsys.readouterr().out
    assert 'no validation split' in out and 'no test split, so there is no third loader' in out and len(dls.loaders)==2
    coco(tmp_path, [], split='test') # pictures without annotations, as COCO's own test split
    assert len(MultilabelDataLoaders.from_coco(tmp_path, size=16, bs=2).loaders)==2
    coco(tmp_path, [ann(0,3)], split='test')
    assert len(MultilabelDataLoaders.from_coco(tmp_path, size=16, bs=2).loaders)==3

def test_mask_follows_exif_orientation(tmp_path):
    coco(tmp_path, [ann(i,3,box(0,0,5,5)) for i in range(5)])
    exif = Image.Exif(); exif[0x0112] = 3 # upside down
    pixels(20,10).save(tmp_path/'train2017/0.jpg', exif=exif)
    m = target(SegmentDataLoaders.from_coco(tmp_path, size=(10,20), bs=2), tmp_path/'train2017/0.jpg')
    assert (m[5:,15:]==1).all() and (m==1).sum()==25

# ---- VOC ----

def voc(root, ids=range(6), wh=(20,10), n=3, split=True):
    for d in ('Annotations','SegmentationClass','ImageSets/Main','ImageSets/Segmentation'): (root/d).mkdir(parents=True, exist_ok=True)
    pics(root/'JPEGImages', [f'{i}.jpg' for i in ids], *wh)
    for i in ids:
        (root/f'Annotations/{i}.xml').write_text(f'<annotation><object><name>{("cat","dog","sofa")[i%3]}</name><difficult>{i%2}</difficult></object></annotation>')
        m = Image.fromarray(RNG.randint(0, n, wh[::-1]).astype(np.uint8)); m.putpalette([0,0,0,128,0,0,0,128,0]); m.save(root/f'SegmentationClass/{i}.png')
    if split:
        for d in ('Main','Segmentation'):
            for s,r in (('train',ids[:-2]),('val',ids[-2:])): (root/f'ImageSets/{d}/{s}.txt').write_text('\n'.join(f'{i}  1' for i in r)+'\n')
    return root

@pytest.mark.parametrize('at', ['','VOC2012','VOCdevkit/VOC2007'])
def test_voc_at_every_level(tmp_path, at):
    voc(tmp_path/at)
    assert find_kind(tmp_path)=='voc'
    for c in (ColorizeDataLoaders,MultilabelDataLoaders,SegmentDataLoaders):
        dls = c.from_voc(tmp_path, size=16, bs=2)
        assert [len(o.dataset) for o in dls]==[4,2]
    assert list(MultilabelDataLoaders.from_voc(tmp_path, size=16).vocab)==list(VOC_CLASSES) and len(dls.vocab)==21

def test_voc_without_masks_xml_or_split_files(tmp_path):
    voc(tmp_path)
    (tmp_path/'SegmentationClass/1.png').unlink()
    (tmp_path/'Annotations/2.xml').write_text('<annotation><object>')
    (tmp_path/'Annotations/0.xml').unlink()
    dls,w = left_out(SegmentDataLoaders.from_voc, tmp_path, size=16, bs=2)
    assert '1 pictures left out, without a usable annotation: 1.png' in w[0] and len(dls.train_ds)==3
    dls,w = left_out(MultilabelDataLoaders.from_voc, tmp_path, size=16, bs=2)
    assert '2 pictures left out' in w[0] and '0.xml: no such file' in w[0] and '2.xml: damaged XML' in w[0] and len(dls.train_ds)==2
    (tmp_path/'ImageSets/Main/train.txt').unlink()
    with pytest.raises(DataError, match=r'expected ImageSets/Main/train.txt with names in it, found val.txt'): MultilabelDataLoaders.from_voc(tmp_path)
    for f in (tmp_path/'SegmentationClass').iterdir(): f.unlink()
    with pytest.raises(DataError, match='no training picture has a usable annotation'): left_out(SegmentDataLoaders.from_voc, tmp_path)

def test_mask_of_another_size_and_unknown_classes(tmp_path):
    voc(tmp_path)
    Image.fromarray(np.zeros((10,10), np.uint8)).save(tmp_path/'SegmentationClass/0.png')
    Image.fromarray(np.full((10,20), 77, np.uint8)).save(tmp_path/'SegmentationClass/1.png')
    (tmp_path/'SegmentationClass/2.png').write_bytes(b'')
    Image.fromarray(np.ones((5,10), np.uint8)).save(tmp_path/'SegmentationClass/3.png') # half the size, the same shape
    pics(tmp_path/'JPEGImages', ['6.jpg'], 20, 10); Image.fromarray(np.full((10,20), 255, np.uint8)).save(tmp_path/'SegmentationClass/6.png')
    (tmp_path/'ImageSets/Segmentation/train.txt').write_text('0\n1\n2\n3\n6\n')
    dls,w = left_out(SegmentDataLoaders.from_voc, tmp_path, size=16, bs=2)
    assert '3 of 7 masks left out' in w[-1]
    for o in ('0.png: mask of 10x10 for a picture of 20x10','1.png: class numbers 77, expected 0 to 20 or 255','2.png: empty file'): assert o in w[-1]
    assert sorted(o.stem for o in dls.train_ds.items)==['3','6'] and (target(dls, tmp_path/'JPEGImages/6.jpg')==255).all()

def test_masks_in_colors_and_with_other_classes(tmp_path):
    voc(tmp_path)
    a = np.zeros((10,20,3), np.uint8); a[:5] = (128,0,0); a[5:,:10] = (0,128,0); a[5:,10:15] = (224,224,192) # VOC's colors of 1, 2 and void
    Image.fromarray(a).save(tmp_path/'SegmentationClass/0.png')
    m = target(SegmentDataLoaders.from_voc(tmp_path, size=(10,20), bs=2), tmp_path/'JPEGImages/0.jpg')
    assert (m[:5]==1).all() and (m[5:,:10]==2).all() and (m[5:,10:15]==255).all() and (m[5:,15:]==0).all()
    (tmp_path/'labelmap.txt').write_text('# label:color_rgb:parts:actions\nbackground:0,0,0::\nzebra:128,0,0::\napple:0,128,0::\n')
    assert list(SegmentDataLoaders.from_voc(tmp_path, size=16, bs=2).vocab)==['background','zebra','apple']

def test_difficult_objects(tmp_path):
    voc(tmp_path)
    get = lambda how: target(MultilabelDataLoaders.from_voc(tmp_path, size=16, bs=2, difficult=how), tmp_path/'JPEGImages/1.jpg')[11].item()
    assert [get(o) for o in (Difficult.Keep,Difficult.Drop,Difficult.Mask)]==[1,0,-1]

# ---- cache ----

def batches(dl, **kwargs): return [tuple(o.as_subclass(torch.Tensor) for o in b) for b in dl.new(shuffle=False, drop_last=False, **kwargs)]
def same(a, b): return len(a)==len(b) and all(torch.equal(x,y) for p,q in zip(a,b) for x,y in zip(p,q))

def test_a_changed_file_is_read_again(tmp_path):
    fs = pics(tmp_path/'p', [f'{i}.png' for i in range(4)])
    make = lambda **kw: ColorizeDataLoaders.from_files(fs[:2], fs[2:], size=16, bs=2, **kw)
    a = batches(make().valid)
    assert same(a, batches(make().valid)) and same(a, batches(make(cache=False).valid))
    pixels().save(fs[3]); os.utime(fs[3], ns=(1,1))
    b = batches(make().valid)
    assert not same(a, b) and same(b, batches(make(cache=False).valid))

def test_fast_batches_are_the_ordinary_ones(tmp_path):
    coco(tmp_path, [ann(i,(3,8,90)[i%3],box(i,i,5,3)) for i in range(5)]); coco(tmp_path, [ann(i,3) for i in range(5)], split='val')
    for size,method in ((16,'crop'),((12,20),'pad'),(15,'squish')):
        for dls in (ColorizeDataLoaders.from_coco(tmp_path, size=size, bs=2, method=method), MultilabelDataLoaders.from_coco(tmp_path, size=size, bs=2, method=method),
                    SegmentDataLoaders.from_coco(tmp_path, size=size, bs=2, method=method)):
            assert dls.valid._parts() is not None and same(batches(dls.valid), batches(dls.valid, banks=None))
            assert same(batches(dls.valid), batches(dls.valid, num_workers=1))

def test_random_item_transforms_are_not_cached(tmp_path):
    from fastai.vision.all import Resize
    fs = pics(tmp_path/'p', [f'{i}.png' for i in range(4)])
    dls = ColorizeDataLoaders.from_files(fs, size=16, bs=2)
    assert dls.train.new(after_item=[Resize(8),*dls.train.after_item.fs[1:]])._parts() is None

FILL = '''
import os,sys; os.environ['COLORFAST_CACHE'] = sys.argv[2]
from pathlib import Path
from colorfast.data import *
dls = ColorizeDataLoaders.from_files(sorted(Path(sys.argv[1]).iterdir()), size=32, bs=4)
assert dls.train._parts() is not None
print(int(dls.train.banks[0].array.long().sum()))
'''
def test_two_processes_fill_the_cache_at_once(tmp_path, cache):
    pics(tmp_path/'p', [f'{i}.png' for i in range(60)], 300, 200)
    ps = [subprocess.Popen([sys.executable, '-W', 'ignore', '-c', FILL, tmp_path/'p', cache], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outs = [p.communicate(timeout=300)[0].strip().splitlines()[-1] for p in ps]
    assert [p.returncode for p in ps]==[0,0] and outs[0]==outs[1]
    assert sorted(o.suffix for o in cache.iterdir())==['.json','.npy'] # nothing half-made is left behind

LIMITED = '''
import os,sys,signal,resource; os.environ['COLORFAST_CACHE'] = sys.argv[2]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
from colorfast.data import *
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)) # writing fails in the middle, as on a full disk
dls = ColorizeDataLoaders.from_files(sorted(Path(sys.argv[1]).iterdir()), size=64, bs=4)
print(len(list(dls.train)), os.listdir(sys.argv[2]))
'''
def test_a_disk_that_fills_up(tmp_path, cache):
    pics(tmp_path/'p', [f'{i}.png' for i in range(12)])
    out = subprocess.run([sys.executable, '-W', 'ignore', '-c', LIMITED, tmp_path/'p', cache], capture_output=True, text=True, timeout=300)
    assert out.returncode==0, out.stderr
    assert 'not cached' in out.stdout and out.stdout.strip().endswith('2 []')

def test_an_unwritable_cache(tmp_path, monkeypatch, capsys):
    (tmp_path/'file').touch()
    monkeypatch.setenv('COLORFAST_CACHE', str(tmp_path/'file/cache'))
    dls = ColorizeDataLoaders.from_files(pics(tmp_path/'p', [f'{i}.png' for i in range(5)]), size=16, bs=2)
    assert 'not cached' in capsys.readouterr().out and len(list(dls.train))==2

# ---- real photographs, where there are some ----

@pytest.mark.skipif('COLORFAST_PHOTOS' not in os.environ, reason='COLORFAST_PHOTOS names no folder of photographs')
def test_real_photographs():
    d = os.environ['COLORFAST_PHOTOS']
    dls = ColorizeDataLoaders.from_folder(d, size=64, bs=32)
    assert not dls.left_out and dls.train._parts() is not None
    l,ab = dls.one_batch()
    assert ab.abs().max()<1 and l.abs().max()<=1 and ab.abs().mean()>.01
