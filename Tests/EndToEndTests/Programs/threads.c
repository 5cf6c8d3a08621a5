// Two threads, each deep in functions of known names with known locals; waits for ever, or crashes when asked to.
// usage: threads [crash]
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct order {
    int number;
    const char *item;
    double price;
};

static volatile int go_on = 1;

static int wait_in_kitchen(struct order *order, int spoons) {
    int stirred = order->number * spoons;
    while (go_on) pause();
    return stirred;
}

static void *cook(void *argument) {
    struct order mine = {42, "soup", 3.5};
    volatile double vector[4] = {1.5, 2.5, 3.5, 4.5};
    (void)argument;
    mine.price += vector[0] - 1.5;
    wait_in_kitchen(&mine, 7);
    return NULL;
}

static int break_a_plate(int plates) {
    volatile int *nowhere = (int *)0x1234;
    int left = plates - 1;
    *nowhere = left;
    return left;
}

int main(int count, char **words) {
    pthread_t thread;
    char greeting[] = "bon appetit";
    pthread_create(&thread, NULL, cook, NULL);
    puts("ready");
    fflush(stdout);
    if (count > 1 && !strcmp(words[1], "crash")) {
        usleep(200000);
        break_a_plate(13);
    }
    pthread_join(thread, NULL);
    return greeting[0];
}
