from .comparing import compare as compare
from .config import RunConfig as RunConfig
from .resolving import resolve as resolve
from .resolving import resolve_all as resolve_all
from .running import RunStack as RunStack
from .running import folder_of as folder_of
from .running import resume as resume
from .running import run as run
