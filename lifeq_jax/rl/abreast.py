"""What several seeds at the same place of a game ask for, answered in one program where the game is compiled."""

from collections.abc import Sequence
from typing import Any

from lifeq_jax.rl.evaluate import Scores
from lifeq_jax.rl.play import Learned
from lifeq_jax.rl.tasks import AllGames, Ask, Epoch
from lifeq_jax.train.abreast import stack


def together(asks: Sequence[Ask]) -> Sequence[Any]:
    """What each `compute` returns, for requests of equal order. Games on the host are played seed after seed."""
    epochs = [ask for ask in asks if isinstance(ask, Epoch)]
    return _epochs(epochs) if epochs else _scores([ask for ask in asks if isinstance(ask, AllGames)])


def _epochs(asks: Sequence[Epoch]) -> Sequence[Learned]:
    learn = asks[0].stage.players[asks[0].place.task].learn_abreast
    if learn is None:
        return [ask.compute() for ask in asks]
    lessons, keys = zip(*(ask.lesson() for ask in asks), strict=True)
    return learn(stack([ask.state for ask in asks]), stack(list(lessons)), stack(list(keys)), str(asks[0].place))


def _scores(asks: Sequence[AllGames]) -> list[list[Scores]]:
    params = stack([ask.params for ask in asks])
    by_game = []
    for task, player in enumerate(asks[0].stage.players):
        if player.score_abreast is None:
            by_game.append([ask.score(task) for ask in asks])
        else:
            keys = stack([ask.key(task) for ask in asks])
            by_game.append(player.score_abreast(params, asks[0].head(task), keys, asks[0].manner))
    return [list(own) for own in zip(*by_game, strict=True)]
