/* The program of a sandbox, which sleeps until it is killed. It needs no C library, so it is static everywhere. */
#include <asm/unistd.h>

void _start(void) {
  for (;;) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(__NR_pause) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    /* ppoll(NULL, 0, NULL, NULL, 0) sleeps as pause(2) does, which this architecture lacks. */
    register long number __asm__("x8") = __NR_ppoll;
    register long a __asm__("x0") = 0, b __asm__("x1") = 0, c __asm__("x2") = 0, d __asm__("x3") = 0, e __asm__("x4") = 0;
    __asm__ volatile("svc 0" : "+r"(a) : "r"(number), "r"(b), "r"(c), "r"(d), "r"(e) : "memory");
#else
#error "pause.c lacks the system calls of this architecture"
#endif
  }
}
