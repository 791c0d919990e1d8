"""Random draws of src/seed.ts, so that what one library draws the other can be given."""


class Draws:
    """One stream of a seed at given counters: whole numbers of 32 bits, uniform numbers, numbers below a bound."""

    def __init__(self, seed, stream, *counters):
        mask = 0xFFFFFFFF

        def mix32(h):
            h = ((h ^ (h >> 16)) * 0x85EBCA6B) & mask
            h = ((h ^ (h >> 13)) * 0xC2B2AE35) & mask
            return h ^ (h >> 16)

        def absorb(state, word):
            return mix32((state * 0x9E3779B1 + word + 0x7F4A7C15) & mask)

        key = absorb(mix32(seed & mask), seed >> 32)
        for letter in stream:
            key = absorb(key, ord(letter))
        for counter in counters:
            key = absorb(absorb(key, counter & mask), counter >> 32)
        self.state = (absorb(key, 1), absorb(key, 2), absorb(key, 3), 1)
        for _ in range(12):
            self.next()

    def next(self):
        mask = 0xFFFFFFFF
        a, b, c, d = self.state
        t = (a + b + d) & mask
        turned = ((c << 21) | (c >> 11)) & mask
        self.state = (b ^ (b >> 9), (c + (c << 3)) & mask, (turned + t) & mask, (d + 1) & mask)
        return t

    def uniform(self):
        """In [0, 1)."""
        return (self.next() * 0x200000 + (self.next() >> 11)) / 0x20000000000000

    def below(self, n):
        limit = 0x100000000 // n * n
        draw = self.next()
        while draw >= limit:
            draw = self.next()
        return draw % n


def permutation(count, seed, *counters):
    """The order of src/operators/shuffle.ts."""
    draws = Draws(seed, "shuffle", *counters)
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        drawn = draws.below(last + 1)
        order[last], order[drawn] = order[drawn], order[last]
    return order
