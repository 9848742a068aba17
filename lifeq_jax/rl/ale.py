"""Atari 2600 games, played by the emulator on the host (packages ale-py and gymnasium, extra `rl`)."""

from typing import Any

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.rl.games import Emulator, Environments, Outcome, Shape

SKIP = 4  # frames an action lasts
STACK = 4  # observations the agent sees at once
MAX_FRAMES = 108_000  # of a game, 30 minutes


def atari(name: str, shape: Shape, max_frames: int = MAX_FRAMES) -> Emulator:
    """Any game of the Arcade Learning Environment by the name of its ROM, as kung_fu_master; observations (H, W, 4).

    As the NoFrameskip environments of the original in their wrappers: gray frames scaled to (H, W), 84x84 there, each
    the larger of the last two of the 4 frames that an action is repeated for, the last 4 at once; up to 30 no-ops at
    the start, then FIRE where the game has it; no action repeated at random; a life lost is an end (`done`) and the
    game goes on. Otherwise than there: after a life lost the older frames stay in view, and neither a no-op nor FIRE
    is sent; a game ends after `max_frames`, not 400,000, and that is a time limit (`truncated`), not an end. Source:
    Machado et al., JAIR 2018; BLIP's envs.py. Refuses other names and shapes, and says how to install the packages."""
    try:
        from ale_py import roms
        from ale_py.vector_env import AtariVectorEnv
    except ImportError as error:
        install = "pip install 'lifeq_jax[rl]'"
        raise Refusal(f"games.names: atari/{name} needs ale-py and gymnasium; install them with {install}") from error
    if name not in roms.get_all_rom_ids():
        raise Refusal(f"games.names: atari/{name} is unknown; choose from {', '.join(sorted(roms.get_all_rom_ids()))}")
    height, width, channels = shape
    if channels != STACK:
        raise Refusal(f"games.image={shape!r} does not fit atari/{name}; choose (H, W, {STACK})")

    def make(num_envs: int) -> Any:
        return AtariVectorEnv(
            name,
            num_envs=num_envs,
            max_num_frames_per_episode=max_frames,
            repeat_action_probability=0.0,
            autoreset_mode="SameStep",
            img_height=height,
            img_width=width,
            stack_num=STACK,
            frameskip=SKIP,
            noop_max=30,
            life_loss_info=True,
            reward_clipping=False,
            use_fire_reset=True,
        )

    one = make(1)
    num_actions = int(one.single_action_space.n)
    one.close()
    return Emulator(num_actions, shape, lambda num_envs: _environments(make(num_envs)))


def _environments(env: Any) -> Environments:
    frame = np.zeros(env.num_envs, np.int64)  # of each game, after the last step

    def reset(seed: int) -> np.ndarray:
        image, info = env.reset(seed=seed)
        frame[:] = info["episode_frame_number"]
        return _channels_last(image)

    def receive() -> tuple[np.ndarray, Outcome]:
        image, reward, terminated, truncated, info = env.recv()
        # lives are full again after a game over, and some games have none: a new game shows in its frame number
        over = info["episode_frame_number"] < frame
        frame[:] = info["episode_frame_number"]
        done = terminated | truncated
        return _channels_last(image), Outcome(reward.astype(np.float32), done, truncated & ~terminated, over)

    return Environments(reset, env.send, receive, env.close)


def _channels_last(image: np.ndarray) -> np.ndarray:
    return np.moveaxis(image, 1, -1)
