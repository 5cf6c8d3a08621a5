#include "init.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

enum { MASK = CKPT_INIT_RING - 1 };

size_t ring_room(const struct stream *s) { return CKPT_INIT_RING - (size_t)(s->produced - s->acked); }

size_t ring_put(struct stream *s, const void *bytes, size_t count) {
    size_t room = ring_room(s);
    if (count > room) count = room;
    size_t at = s->produced & MASK, first = CKPT_INIT_RING - at;
    if (first > count) first = count;
    memcpy(s->data + at, bytes, first);
    memcpy(s->data, (const char *)bytes + first, count - first);
    s->produced += count;
    return count;
}

size_t ring_piece(const struct stream *s, uint64_t offset, const char **bytes) {
    size_t at = offset & MASK, to_end = CKPT_INIT_RING - at, held = (size_t)(s->produced - offset);
    *bytes = s->data + at;
    return held < to_end ? held : to_end;
}

void ring_acknowledge(struct stream *s, uint64_t offset) {
    if (offset > s->produced) offset = s->produced;
    if (offset > s->acked) s->acked = offset;
    if (s->sent < s->acked) s->sent = s->acked;
}

ssize_t ring_fill(struct stream *s) {
    size_t room = ring_room(s), at = s->produced & MASK, first = CKPT_INIT_RING - at;
    if (first > room) first = room;
    struct iovec parts[2] = {{s->data + at, first}, {s->data, room - first}};
    ssize_t got;
    do got = readv(s->fd, parts, 2);
    while (got < 0 && errno == EINTR);
    if (got > 0) s->produced += (uint64_t)got;
    // A terminal whose other side is closed everywhere answers EIO: its end of file.
    if (got < 0 && errno != EAGAIN) return 0;
    return got;
}
