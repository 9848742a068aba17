"""Atari 2600 games, played by the emulator on the host (packages ale-py and gymnasium, extra `rl`)."""

from typing import Any

import numpy as np

from lifeq_jax.core.refusal import Refusal
from lifeq_jax.rl.games import Emulator, Environments, Outcome, Shape

SKIP = 4  # frames for which an action is repeated
STACK = 4  # frames of an observation
MAX_FRAMES = 108_000  # of a game, 30 minutes


def atari_game(name: str, shape: Shape, max_frames: int = MAX_FRAMES) -> Emulator:
    """Any game of the Arcade Learning Environment by its ROM's name, e.g. kung_fu_master; observations (H, W, 4).

    Equal to the original's NoFrameskip environments with their wrappers: gray frames scaled to (H, W), 84x84 there; a
    frame is the maximum of the last two of the 4 for which an action is repeated, and an observation stacks the last 4;
    up to 30 no-ops at the start, then FIRE if the game has it; no sticky actions; losing a life ends the episode
    (`done`) but not the game. Differences: after a lost life the older frames stay in the observation, and neither a
    no-op nor FIRE is sent; a game ends after `max_frames`, not 400,000, as a time limit (`truncated`). Source: Machado
    et al., JAIR 2018; BLIP's envs.py. Refuses other names and shapes, and missing packages, saying how to install
    them."""
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
        # lives are full again after a game over, and some games have none; only the frame number shows a new game
        over = info["episode_frame_number"] < frame
        frame[:] = info["episode_frame_number"]
        done = terminated | truncated
        return _channels_last(image), Outcome(reward.astype(np.float32), done, truncated & ~terminated, over)

    return Environments(reset, env.send, receive, env.close)


def _channels_last(image: np.ndarray) -> np.ndarray:
    return np.moveaxis(image, 1, -1)
