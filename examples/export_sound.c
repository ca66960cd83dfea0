/* Filters sound with the exported net, sample by sample: main < in.wav > out.wav, of 16 bits, one channel.

   cc -O3 main.c net.c -lm -o main */
#include <stdio.h>

#include "net.h"

#define HEADER 44 /* bytes of a WAV file before its samples */

int main(void) {
  static net_state state;
  unsigned char header[HEADER], bytes[2];
  if (fread(header, 1, HEADER, stdin) != HEADER) return 2;
  fwrite(header, 1, HEADER, stdout);
  net_init(&state);
  while (fread(bytes, 1, 2, stdin) == 2) {
    const int given = bytes[0] | bytes[1] << 8;
    const float x = (float)(given < 32768 ? given : given - 65536) / 32768.0f;
    float y;
    long made;
    net_step(&x, &state, &y);
    made = (long)(y * 32768.0f);
    made = made > 32767 ? 32767 : made < -32768 ? -32768 : made;
    bytes[0] = (unsigned char)(made & 255), bytes[1] = (unsigned char)(made >> 8 & 255);
    fwrite(bytes, 1, 2, stdout);
  }
  return 0;
}
