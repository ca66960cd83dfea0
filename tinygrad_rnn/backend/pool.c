/* The threads of all generated loops, and products by the BLAS of NumPy, each thread a part of the result.

   Rows of the batch are shared out. Workers are made once; between two calls each looks for work for about a
   millisecond and then sleeps. Where the pool is at work for somebody else, a caller does its rows alone. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct {
  void** memory;
  const long *step, *row;
  long n, first, by, n_steps, done;
} Call;
typedef void (*Rows)(const Call*, long, long);

#define MOST 64
#define SPINS 20000
static struct {
  pthread_mutex_t busy, lock;
  pthread_cond_t wake;
  _Atomic unsigned turn;
  _Atomic int left;
  unsigned born; /* the turn before a new worker's first */
  int n_workers, n_parts;
  Rows run;
  const Call* call;
} pool = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};

static void part(const Call* call, Rows run, long k, long n_parts) {
  run(call, call->n * k / n_parts, call->n * (k + 1) / n_parts);
}

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void* worker(void* number) {
  const long k = (long)(intptr_t)number;
  unsigned seen = pool.born;
  for (;;) {
    for (long spins = 0; atomic_load_explicit(&pool.turn, memory_order_acquire) == seen; spins++) {
      if (spins < SPINS) {
        relax();
        continue;
      }
      pthread_mutex_lock(&pool.lock);
      while (atomic_load(&pool.turn) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
      pthread_mutex_unlock(&pool.lock);
    }
    seen = atomic_load(&pool.turn);
    if (k < pool.n_parts) part(pool.call, pool.run, k, pool.n_parts);
    atomic_fetch_sub(&pool.left, 1);
  }
  return 0;
}

static void after_fork(void) { /* the child has none of the workers */
  pthread_mutex_init(&pool.busy, 0);
  pthread_mutex_init(&pool.lock, 0);
  pthread_cond_init(&pool.wake, 0);
  pool.n_workers = 0;
  atomic_store(&pool.left, 0);
}

/* Runs the rows of a call, by at most so many threads. */
void share(const Call* call, Rows run, long n_threads) {
  static int told = 0;
  if (n_threads > call->n) n_threads = call->n;
  if (n_threads > MOST) n_threads = MOST;
  if (n_threads < 2 || pthread_mutex_trylock(&pool.busy)) {
    run(call, 0, call->n);
    return;
  }
  if (!told) told = 1, pthread_atfork(0, 0, after_fork);
  pool.born = atomic_load(&pool.turn);
  for (pthread_t thread; pool.n_workers < n_threads - 1;) {
    pool.n_workers++;
    if (pthread_create(&thread, 0, worker, (void*)(intptr_t)pool.n_workers)) {
      pool.n_workers--;
      break;
    }
    pthread_detach(thread);
  }
  pool.n_parts = pool.n_workers + 1 < n_threads ? pool.n_workers + 1 : (int)n_threads;
  pool.call = call, pool.run = run;
  atomic_store(&pool.left, pool.n_workers);
  pthread_mutex_lock(&pool.lock);
  atomic_fetch_add(&pool.turn, 1);
  pthread_cond_broadcast(&pool.wake);
  pthread_mutex_unlock(&pool.lock);
  part(call, run, 0, pool.n_parts);
  while (atomic_load_explicit(&pool.left, memory_order_acquire)) relax();
  pthread_mutex_unlock(&pool.busy);
}

/* ---------------------------------------------------------------- loops

   What a loop works on are NumPy's arrays, whose data and strides stand in the object, as its C interface has
   them (PyArrayObject_fields): behind the `head` of every object data, the number of axes, sizes, strides. */

typedef struct {
  char* data;
  int n_axes;
  intptr_t *sizes, *strides;
} Array;

enum { MOVING, FIXED, MATRIX, OWN, PACKED, ROWS };
typedef struct {
  long kind, item, row; /* bytes of an element; elements of a row, of PACKED in all */
} Slot;

/* Runs n_steps of a loop, after `done` others. `objects`: an array for each slot that brings one. `own`: memory
   for the others, for each as much as its rows need, rounded up to lines of the cache. Not 0 where there was no
   memory, and nothing was done. */
int run_loop(const int64_t* objects, long head, const Slot* slots, long count, char* own,
              void (*prepare)(const Call*), Rows rows, long n, long first, long by, long n_steps, long done,
              long n_threads) {
  void *few[256], **memory = few; /* room for a step of a stream, in which nothing is to be allocated */
  if (count * (sizeof(void*) + 2 * sizeof(long)) > sizeof few &&
      !(memory = malloc(count * (sizeof(void*) + 2 * sizeof(long)))))
    return 1;
  long *step = (long*)(memory + count), *row = step + count;
  for (long k = 0; k < count; k++) {
    const Slot slot = slots[k];
    step[k] = 0, row[k] = slot.row;
    if (slot.kind == OWN || slot.kind == PACKED) {
      memory[k] = own;
      own += (slot.row * slot.item * (slot.kind == OWN ? n : 1) + 63) / 64 * 64;
      continue;
    }
    const Array* array = (const Array*)(intptr_t)(objects[k] + head);
    memory[k] = array->data;
    if (slot.kind == ROWS)
      row[k] = array->strides[0] / slot.item;
    else if (slot.kind != FIXED)
      step[k] = array->strides[0] / slot.item, row[k] = array->strides[1] / slot.item;
  }
  const Call call = {memory, step, row, n, first, by, n_steps, done};
  if (prepare) prepare(&call);
  share(&call, rows, n_threads);
  if (memory != few) free(memory);
  return 0;
}

/* The same by one argument, for a stream, which calls it with the same numbers but for the last ones. */
int run_again(const int64_t* a) {
  return run_loop((const int64_t*)a[0], a[1], (const Slot*)a[2], a[3], (char*)a[4], (void (*)(const Call*))a[5],
                  (Rows)a[6], a[7], a[8], a[9], a[10], a[11], a[12]);
}

/* ---------------------------------------------------------------- many arrays, element by element

   `n_lists` lists of `length` arrays, those of a list of one size, whose elements follow each other. The work is
   shared out in chunks of CHUNK elements. A Call has the data of the arrays, list by list, and behind them the
   numbers; as `step` the sizes, as `row` each list's first chunk, as n the chunks, as n_steps the lists. */

#define CHUNK 8192 /* as in lower/c_update.py */

int run_elements(const int64_t* objects, long head, long n_lists, long length, void* numbers, Rows rows,
                 long n_threads) {
  const long count = n_lists * length;
  void** memory = malloc((count + 1) * sizeof(void*) + 2 * n_lists * sizeof(long));
  if (!memory) return 1;
  long *size = (long*)(memory + count + 1), *first = size + n_lists, chunks = 0;
  for (long k = 0; k < count; k++) {
    const Array* array = (const Array*)(intptr_t)(objects[k] + head);
    memory[k] = array->data;
    if (k % length) continue;
    long* own = size + k / length;
    *own = 1;
    for (int axis = 0; axis < array->n_axes; axis++) *own *= array->sizes[axis];
    first[k / length] = chunks;
    chunks += (*own + CHUNK - 1) / CHUNK;
  }
  memory[count] = numbers;
  const Call call = {memory, size, first, chunks, 0, 1, n_lists, 0};
  share(&call, rows, n_threads);
  free(memory);
  return 0;
}

/* ---------------------------------------------------------------- products of matrices

   c = a @ b, or that and c, by a BLAS that is told to use one thread. c is cut by rows or by columns into parts
   whose number depends on the sizes alone, so that the result does not depend on the number of threads; no sum
   is cut. Integers are 64 bits wide; orders and transposes as in CBLAS. */

typedef void (*Single)(int, int, int, long, long, long, float, const float*, long, const float*, long, float,
                       float*, long);
typedef void (*Double)(int, int, int, long, long, long, double, const double*, long, const double*, long,
                       double, double*, long);

typedef struct {
  Call call; /* n parts */
  void* gemm;
  const char *a, *b;
  char* c;
  long size, turned_a, turned_b, rows, columns, inner, a_down, b_down, c_down, adds;
} Product;

static void product_parts(const Call* call, long from, long to) {
  const Product* p = (const Product*)call;
  const long by_rows = p->rows >= p->columns, whole = by_rows ? p->rows : p->columns;
  const int of_a = p->turned_a ? 112 : 111, of_b = p->turned_b ? 112 : 111;
  for (long k = from; k < to; k++) {
    const long start = whole * k / call->n, count = whole * (k + 1) / call->n - start;
    const char* a = p->a + (by_rows ? start * (p->turned_a ? 1 : p->a_down) * p->size : 0);
    const char* b = p->b + (by_rows ? 0 : start * (p->turned_b ? p->b_down : 1) * p->size);
    char* c = p->c + start * (by_rows ? p->c_down : 1) * p->size;
    const long rows = by_rows ? count : p->rows, columns = by_rows ? p->columns : count;
    if (!count) continue;
    if (p->size == 8)
      ((Double)p->gemm)(101, of_a, of_b, rows, columns, p->inner, 1, (const double*)a, p->a_down,
                        (const double*)b, p->b_down, p->adds, (double*)c, p->c_down);
    else
      ((Single)p->gemm)(101, of_a, of_b, rows, columns, p->inner, 1, (const float*)a, p->a_down,
                        (const float*)b, p->b_down, p->adds, (float*)c, p->c_down);
  }
}

void multiply(Product* p, long n_threads) { share(&p->call, product_parts, n_threads); }
