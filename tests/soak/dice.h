/* dice.h - random numbers that follow from a seed (splitmix64). One a thread. */
#ifndef SOAK_DICE_H
#define SOAK_DICE_H
#include <stdint.h>

struct dice {
    uint64_t state;
};

static inline uint64_t dice_next(struct dice *dice)
{
    uint64_t z = dice->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline int dice_roll(struct dice *dice, int below) /* 0..below-1 */
{
    return (int)(dice_next(dice) % (uint64_t)below);
}

static inline struct dice dice_of(unsigned seed, int whose)
{
    struct dice dice = {seed * UINT64_C(1000003) + (uint64_t)whose};
    dice_next(&dice);
    return dice;
}

#endif
