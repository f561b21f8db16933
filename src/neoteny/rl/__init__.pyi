from .agents import Agents as Agents
from .environments import OneByOne as OneByOne
from .ppo import PPO as PPO
from .settings import AgentSettings as AgentSettings
from .settings import PPOSettings as PPOSettings
from .watching import Episode as Episode
from .watching import load_policy as load_policy
from .watching import record as record
