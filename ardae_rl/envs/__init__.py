"""The environments of this package, by their Gymnasium ids. Importing this room registers them: every process that makes one does.

``ardae_rl/RllabHumanoid-v0``: rllab's Humanoid, which Gymnasium does not have. Without a time limit, as there; ``max_episode_steps=1000``
(in a YAML file: ``config.env_config``) gives it one.
``ardae_rl/MultiGoal-v0``: a point that may reach any of four equal goals, 30 steps at most.
"""

import gymnasium as gym

gym.register("ardae_rl/RllabHumanoid-v0", entry_point="ardae_rl.envs.rllab_humanoid:RllabHumanoidEnv")
gym.register("ardae_rl/MultiGoal-v0", entry_point="ardae_rl.envs.multi_goal:MultiGoalEnv", max_episode_steps=30)
