"""The decoding process: ``python -m consumers.media.decode_child FD``. One request at a time over the connection it inherits.

Decoders are large C libraries fed by strangers: a crash, a loop or a flood of memory ends this process and not the consumer's.
"""

import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from consumers.media.decode_wire import Answer, Ask, Pixels

MEMORY_BYTES = 6 * 2**30


def main() -> None:
    """Answers until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    connection = Connection(int(sys.argv[1]))
    asks, answers = msgspec.msgpack.Decoder(Ask), msgspec.msgpack.Encoder()
    while True:
        try:
            ask = asks.decode(connection.recv_bytes())
        except EOFError:
            return
        connection.send_bytes(answers.encode(answer(ask)))


def answer(ask: Ask) -> Answer:
    """Decodes one file."""
    from models.frames import sample_frames
    from models.picture import open_picture
    from models.sound import open_sound
    from schemas.errors import InvalidMedia, MediaTooLarge

    try:
        if ask.sound is not None:
            heard = open_sound(Path(ask.path), ask.sound)
            return Answer(sound=heard.samples.tobytes(), cut=heard.cut)
        if not ask.budget:
            image = open_picture(Path(ask.path), ask.max_pixels, ask.out_pixels)
            return Answer(images=[Pixels(image.shape[0], image.shape[1], image.tobytes())])
        sampled = sample_frames(ask.path, ask.budget, ask.spec)
        frames = [
            Pixels(item.image.shape[0], item.image.shape[1], item.image.tobytes(), item.position_ms, item.shot) for item in sampled.frames
        ]
        return Answer(images=frames, cut=sampled.cut)
    except MediaTooLarge as error:
        return Answer(failed=error.what, detail=str(error))
    except InvalidMedia as error:
        return Answer(failed="undecodable", detail=str(error))
    except MemoryError:
        return Answer(failed="undecodable", detail="it takes more memory than there is")


if __name__ == "__main__":
    main()
