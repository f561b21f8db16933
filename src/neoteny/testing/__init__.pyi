from .models import MODELS as MODELS
from .models import Model as Model
from .optimizers import OPTIMIZERS as OPTIMIZERS
from .optimizers import OptimizerCase as OptimizerCase
from .suite import ContractReport as ContractReport
from .suite import check_method as check_method
from .suite import checks as checks
