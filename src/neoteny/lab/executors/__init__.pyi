from .local import Here as Here
from .local import Local as Local
from .protocol import Executor as Executor
from .protocol import Job as Job
from .protocol import Outcome as Outcome
from .protocol import Worker as Worker
from .training import train as train
