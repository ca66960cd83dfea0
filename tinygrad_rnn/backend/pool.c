/* The threads of all generated loops, and products by the BLAS of NumPy, each thread a part of the result.

   Rows of the batch are shared out. Workers are made once; between two calls each looks for work for about a
   millisecond and then sleeps. Where the pool is at work for somebody else, a caller does its rows alone. */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef ptrdiff_t Index; /* a long is half as wide on Windows */

/* ---------------------------------------------------------------- threads of either kind */

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#define EXPORT __declspec(dllexport)
#define FREE SRWLOCK_INIT
#define NOBODY CONDITION_VARIABLE_INIT
typedef SRWLOCK Lock;
typedef CONDITION_VARIABLE Condition;
static void lock(Lock* l) { AcquireSRWLockExclusive(l); }
static int try_lock(Lock* l) { return TryAcquireSRWLockExclusive(l); }
static void unlock(Lock* l) { ReleaseSRWLockExclusive(l); }
static void wait_for(Condition* c, Lock* l) { SleepConditionVariableSRW(c, l, INFINITE, 0); }
static void wake_all(Condition* c) { WakeAllConditionVariable(c); }
static DWORD WINAPI worker(void* number);
static int start(Index number) {
  const HANDLE thread = CreateThread(0, 0, worker, (void*)number, 0, 0);
  return thread && CloseHandle(thread);
}
#else
#include <pthread.h>
#define EXPORT
#define FREE PTHREAD_MUTEX_INITIALIZER
#define NOBODY PTHREAD_COND_INITIALIZER
typedef pthread_mutex_t Lock;
typedef pthread_cond_t Condition;
static void lock(Lock* l) { pthread_mutex_lock(l); }
static int try_lock(Lock* l) { return !pthread_mutex_trylock(l); }
static void unlock(Lock* l) { pthread_mutex_unlock(l); }
static void wait_for(Condition* c, Lock* l) { pthread_cond_wait(c, l); }
static void wake_all(Condition* c) { pthread_cond_broadcast(c); }
static void* worker(void* number);
static int start(Index number) {
  pthread_t thread;
  return !pthread_create(&thread, 0, worker, (void*)number) && !pthread_detach(thread);
}
#endif

typedef struct {
  void** memory;
  const Index *step, *row;
  Index n, first, by, n_steps, done;
} Call;
typedef void (*Rows)(const Call*, Index, Index);

#define MOST 64
#define SPINS 20000
static struct {
  Lock busy, sleep;
  Condition wake;
  _Atomic unsigned turn;
  _Atomic int left;
  unsigned born; /* the turn before a new worker's first */
  int n_workers, n_parts;
  Rows run;
  const Call* call;
} pool = {FREE, FREE, NOBODY};

static void part(const Call* call, Rows run, Index k, Index n_parts) {
  run(call, call->n * k / n_parts, call->n * (k + 1) / n_parts);
}

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

#ifdef _WIN32
static DWORD WINAPI worker(void* number) {
#else
static void* worker(void* number) {
#endif
  const Index k = (Index)number;
  unsigned seen = pool.born;
  for (;;) {
    for (Index spins = 0; atomic_load_explicit(&pool.turn, memory_order_acquire) == seen; spins++) {
      if (spins < SPINS) {
        relax();
        continue;
      }
      lock(&pool.sleep);
      while (atomic_load(&pool.turn) == seen) wait_for(&pool.wake, &pool.sleep);
      unlock(&pool.sleep);
    }
    seen = atomic_load(&pool.turn);
    if (k < pool.n_parts) part(pool.call, pool.run, k, pool.n_parts);
    atomic_fetch_sub(&pool.left, 1);
  }
  return 0;
}

#ifndef _WIN32
static void after_fork(void) { /* the child has none of the workers */
  pthread_mutex_init(&pool.busy, 0);
  pthread_mutex_init(&pool.sleep, 0);
  pthread_cond_init(&pool.wake, 0);
  pool.n_workers = 0;
  atomic_store(&pool.left, 0);
}
#endif

/* Runs the rows of a call, by at most so many threads. */
static void share(const Call* call, Rows run, Index n_threads) {
  if (n_threads > call->n) n_threads = call->n;
  if (n_threads > MOST) n_threads = MOST;
  if (n_threads < 2 || !try_lock(&pool.busy)) {
    run(call, 0, call->n);
    return;
  }
#ifndef _WIN32
  static int told = 0;
  if (!told) told = 1, pthread_atfork(0, 0, after_fork);
#endif
  pool.born = atomic_load(&pool.turn);
  while (pool.n_workers < n_threads - 1) {
    pool.n_workers++;
    if (!start(pool.n_workers)) {
      pool.n_workers--;
      break;
    }
  }
  pool.n_parts = pool.n_workers + 1 < n_threads ? pool.n_workers + 1 : (int)n_threads;
  pool.call = call, pool.run = run;
  atomic_store(&pool.left, pool.n_workers);
  lock(&pool.sleep);
  atomic_fetch_add(&pool.turn, 1);
  wake_all(&pool.wake);
  unlock(&pool.sleep);
  part(call, run, 0, pool.n_parts);
  while (atomic_load_explicit(&pool.left, memory_order_acquire)) relax();
  unlock(&pool.busy);
}

/* ---------------------------------------------------------------- loops

   What a loop works on are NumPy's arrays, whose data and strides stand in the object, as its C interface has
   them (PyArrayObject_fields): behind the `head` of every object data, the number of axes, sizes, strides. */

typedef struct {
  char* data;
  int n_axes;
  intptr_t *sizes, *strides;
} Array;

enum { IS_MOVING, IS_FIXED, IS_MATRIX, IS_OWN, IS_PACKED, IS_ROWS };
typedef struct {
  Index kind, item, row; /* bytes of an element; elements of a row, of IS_PACKED in all */
} Slot;

/* Runs n_steps of a loop, after `done` others. `objects`: an array for each slot that brings one. `own`: memory
   for the others, for each as much as its rows need, rounded up to lines of the cache. Not 0 where there was no
   memory, and nothing was done. */
EXPORT int run_loop(const int64_t* objects, Index head, const Slot* slots, Index count, char* own,
              void (*prepare)(const Call*), Rows rows, Index n, Index first, Index by, Index n_steps, Index done,
              Index n_threads) {
  void *few[256], **memory = few; /* room for a step of a stream, in which nothing is to be allocated */
  if (count * (sizeof(void*) + 2 * sizeof(Index)) > sizeof few &&
      !(memory = malloc(count * (sizeof(void*) + 2 * sizeof(Index)))))
    return 1;
  Index *step = (Index*)(memory + count), *row = step + count;
  for (Index k = 0; k < count; k++) {
    const Slot slot = slots[k];
    step[k] = 0, row[k] = slot.row;
    if (slot.kind == IS_OWN || slot.kind == IS_PACKED) {
      memory[k] = own;
      own += (slot.row * slot.item * (slot.kind == IS_OWN ? n : 1) + 63) / 64 * 64;
      continue;
    }
    const Array* array = (const Array*)(intptr_t)(objects[k] + head);
    memory[k] = array->data;
    if (slot.kind == IS_ROWS)
      row[k] = array->strides[0] / slot.item;
    else if (slot.kind != IS_FIXED)
      step[k] = array->strides[0] / slot.item, row[k] = array->strides[1] / slot.item;
  }
  const Call call = {memory, step, row, n, first, by, n_steps, done};
  if (prepare) prepare(&call);
  share(&call, rows, n_threads);
  if (memory != few) free(memory);
  return 0;
}

/* The same by one argument, for a stream, which calls it with the same numbers but for the last ones. */
EXPORT int run_again(const int64_t* a) {
  return run_loop((const int64_t*)a[0], a[1], (const Slot*)a[2], a[3], (char*)a[4], (void (*)(const Call*))a[5],
                  (Rows)a[6], a[7], a[8], a[9], a[10], a[11], a[12]);
}

/* ---------------------------------------------------------------- many arrays, element by element

   `n_lists` lists of `length` arrays, those of a list of one size, whose elements follow each other. The work is
   shared out in chunks of CHUNK elements. A Call has the data of the arrays, list by list, and behind them the
   numbers; as `step` the sizes, as `row` each list's first chunk, as n the chunks, as n_steps the lists. */

#define CHUNK 8192 /* as in lower/c_update.py */

EXPORT int run_elements(const int64_t* objects, Index head, Index n_lists, Index length, void* numbers, Rows rows,
                 Index n_threads) {
  const Index count = n_lists * length;
  void** memory = malloc((count + 1) * sizeof(void*) + 2 * n_lists * sizeof(Index));
  if (!memory) return 1;
  Index *size = (Index*)(memory + count + 1), *first = size + n_lists, chunks = 0;
  for (Index k = 0; k < count; k++) {
    const Array* array = (const Array*)(intptr_t)(objects[k] + head);
    memory[k] = array->data;
    if (k % length) continue;
    Index* own = size + k / length;
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

typedef void (*Single)(int, int, int, Index, Index, Index, float, const float*, Index, const float*, Index, float,
                       float*, Index);
typedef void (*Double)(int, int, int, Index, Index, Index, double, const double*, Index, const double*, Index,
                       double, double*, Index);

typedef struct {
  Call call; /* n parts */
  void* gemm;
  const char *a, *b;
  char* c;
  Index size, turned_a, turned_b, rows, columns, inner, a_down, b_down, c_down, adds;
} Product;

static void product_parts(const Call* call, Index from, Index to) {
  const Product* p = (const Product*)call;
  const Index by_rows = p->rows >= p->columns, whole = by_rows ? p->rows : p->columns;
  const int of_a = p->turned_a ? 112 : 111, of_b = p->turned_b ? 112 : 111;
  for (Index k = from; k < to; k++) {
    const Index start = whole * k / call->n, count = whole * (k + 1) / call->n - start;
    const char* a = p->a + (by_rows ? start * (p->turned_a ? 1 : p->a_down) * p->size : 0);
    const char* b = p->b + (by_rows ? 0 : start * (p->turned_b ? p->b_down : 1) * p->size);
    char* c = p->c + start * (by_rows ? p->c_down : 1) * p->size;
    const Index rows = by_rows ? count : p->rows, columns = by_rows ? p->columns : count;
    if (!count) continue;
    if (p->size == 8)
      ((Double)p->gemm)(101, of_a, of_b, rows, columns, p->inner, 1, (const double*)a, p->a_down,
                        (const double*)b, p->b_down, p->adds, (double*)c, p->c_down);
    else
      ((Single)p->gemm)(101, of_a, of_b, rows, columns, p->inner, 1, (const float*)a, p->a_down,
                        (const float*)b, p->b_down, p->adds, (float*)c, p->c_down);
  }
}

EXPORT void multiply(Product* p, Index n_threads) { share(&p->call, product_parts, n_threads); }
