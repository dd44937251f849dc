"The tests have a cache of their own, from before they are imported until the end: the user's is left alone."
import os,tempfile

CACHE = tempfile.TemporaryDirectory(prefix='colorfast')
os.environ['COLORFAST_CACHE'] = CACHE.name
