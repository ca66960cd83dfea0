/* Writes text with the exported language model: main [BEGINNING [CHARACTERS [TEMPERATURE [SEED]]]].

   cc -O3 main.c net.c -lm -o main */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "net.h"
#include "vocab.h"

static net_state state;
static float scores[NET_OUTPUTS];

/* A number from 0 to 1, by xorshift (Marsaglia 2003). */
static double drawn(unsigned long *seed) {
  unsigned long x = *seed & 0xffffffffUL;
  x ^= x << 13 & 0xffffffffUL;
  x ^= x >> 17;
  x ^= x << 5 & 0xffffffffUL;
  *seed = x;
  return (double)x / 4294967296.0;
}

/* A character drawn from softmax(scores / temperature). */
static int chosen(double temperature, unsigned long *seed) {
  double top = scores[0], total = 0, left;
  int k;
  for (k = 1; k < NET_OUTPUTS; k++) top = scores[k] > top ? scores[k] : top;
  for (k = 0; k < NET_OUTPUTS; k++) total += exp((scores[k] - top) / temperature);
  left = drawn(seed) * total;
  for (k = 0; k < NET_OUTPUTS - 1; k++)
    if ((left -= exp((scores[k] - top) / temperature)) < 0) break;
  return k;
}

/* The character that a text begins with; -1 where the model does not know it. */
static int first_of(const char *text) {
  int k;
  for (k = 0; k < NET_TOKENS; k++)
    if (strncmp(text, characters[k], strlen(characters[k])) == 0) return k;
  return -1;
}

int main(int argc, char **argv) {
  const char *text = argc > 1 && argv[1][0] ? argv[1] : characters[0];
  long left = argc > 2 ? atol(argv[2]) : 400;
  const double temperature = argc > 3 && atof(argv[3]) > 0 ? atof(argv[3]) : 0.8;
  unsigned long seed = 2463534242UL + (argc > 4 ? (unsigned long)atol(argv[4]) : 0);
  int token;
  net_init(&state);
  for (; *text; text += strlen(characters[token]), fputs(characters[token], stdout)) {
    if ((token = first_of(text)) < 0) return fprintf(stderr, "no character of the model: %s\n", text), 2;
    net_step(&token, &state, scores);
  }
  for (; left > 0; left--, net_step(&token, &state, scores)) {
    token = chosen(temperature, &seed);
    fputs(characters[token], stdout);
  }
  return 0;
}
