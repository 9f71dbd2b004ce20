/* The least that running N tasks can cost: posix_spawn and wait, J at a time.
 *
 * Usage: spawn_loop N J PROGRAM ARGUMENT…
 * Children get this program's environment. No order, no output files, no records.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: %s N J PROGRAM ARGUMENT…\n", argv[0]);
        return 2;
    }
    long left = atol(argv[1]);
    long slots = atol(argv[2]);
    long running = 0;
    while (left > 0 || running > 0) {
        if (left > 0 && running < slots) {
            pid_t pid;
            int error = posix_spawn(&pid, argv[3], NULL, NULL, argv + 3, environ);
            if (error != 0) {
                fprintf(stderr, "cannot start %s: %s\n", argv[3], strerror(error));
                return 1;
            }
            left--;
            running++;
            continue;
        }
        int status;
        if (waitpid(-1, &status, 0) < 0) {
            if (errno == EINTR)
                continue;
            perror("waitpid");
            return 1;
        }
        if (status != 0) {
            fprintf(stderr, "a task failed\n");
            return 1;
        }
        running--;
    }
    return 0;
}
