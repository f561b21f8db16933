from .drawing import Moment as Moment
from .drawing import NetworkPicture as NetworkPicture
from .growing import GrowthFilm as GrowthFilm
from .growing import film_network as film_network
