// The wall around ports: nf_tables rules that live in the sandbox's network namespace and that only
// CAP_NET_ADMIN there, which a sandbox with such a wall is not given, could take down.
#define _GNU_SOURCE
#include "network_parts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#define TABLE "ckpt"
#define CHAIN "out"

// nf_tables takes a transaction as one write of many messages.
struct batch {
    char *bytes;
    size_t length, room;
    uint32_t sequence;
    int broken;
};

static void append(struct batch *batch, struct nl_msg *message) {
    struct nlmsghdr *header = message ? nlmsg_hdr(message) : 0;
    if (!header || batch->broken) {
        batch->broken = 1;
    } else {
        header->nlmsg_seq = ++batch->sequence;
        size_t length = NLMSG_ALIGN(header->nlmsg_len);
        if (batch->length + length > batch->room) {
            size_t room = (batch->room + length) * 2;
            char *bytes = realloc(batch->bytes, room);
            if (!bytes) batch->broken = 1;
            else batch->bytes = bytes, batch->room = room;
        }
        if (!batch->broken) {
            memset(batch->bytes + batch->length, 0, length);
            memcpy(batch->bytes + batch->length, header, header->nlmsg_len);
            batch->length += length;
        }
    }
    nlmsg_free(message);
}

static struct nl_msg *message(int type, int flags, int family, int resource) {
    struct nl_msg *message = nlmsg_alloc_simple(type, NLM_F_REQUEST | flags);
    struct nfgenmsg head = {.nfgen_family = (uint8_t)family, .version = NFNETLINK_V0, .res_id = htons((uint16_t)resource)};
    if (message) nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    return message;
}

static struct nl_msg *request(int type) {
    return message(NFNL_SUBSYS_NFTABLES << 8 | type, NLM_F_CREATE | NLM_F_ACK, NFPROTO_INET, 0);
}

static void number(struct nl_msg *message, int attribute, uint32_t value) {
    nla_put_u32(message, attribute, htonl(value));
}

static void bytes(struct nl_msg *message, int attribute, const void *value, int length) {
    struct nlattr *nest = nla_nest_start(message, attribute);
    nla_put(message, NFTA_DATA_VALUE, length, value);
    nla_nest_end(message, nest);
}

struct expression {
    struct nlattr *element, *data;
};

static struct expression begin(struct nl_msg *message, const char *name) {
    struct expression expression;
    expression.element = nla_nest_start(message, NFTA_LIST_ELEM);
    nla_put_string(message, NFTA_EXPR_NAME, name);
    expression.data = nla_nest_start(message, NFTA_EXPR_DATA);
    return expression;
}

static void end(struct nl_msg *message, struct expression expression) {
    nla_nest_end(message, expression.data);
    nla_nest_end(message, expression.element);
}

static void compare(struct nl_msg *message, int operator, const void *value, int length) {
    struct expression expression = begin(message, "cmp");
    number(message, NFTA_CMP_SREG, NFT_REG_1);
    number(message, NFTA_CMP_OP, (uint32_t)operator);
    bytes(message, NFTA_CMP_DATA, value, length);
    end(message, expression);
}

static void if_protocol(struct nl_msg *message, uint8_t protocol) {
    struct expression expression = begin(message, "meta");
    number(message, NFTA_META_DREG, NFT_REG_1);
    number(message, NFTA_META_KEY, NFT_META_L4PROTO);
    end(message, expression);
    compare(message, NFT_CMP_EQ, &protocol, 1);
}

static void load_transport(struct nl_msg *message, uint32_t offset, uint32_t length) {
    struct expression expression = begin(message, "payload");
    number(message, NFTA_PAYLOAD_DREG, NFT_REG_1);
    number(message, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
    number(message, NFTA_PAYLOAD_OFFSET, offset);
    number(message, NFTA_PAYLOAD_LEN, length);
    end(message, expression);
}

// A segment with SYN and without ACK opens a connection; byte 13 of the header holds the flags.
static void if_not_opening(struct nl_msg *message) {
    const uint8_t mask = 0x12, none = 0, opening = 0x02;
    load_transport(message, 13, 1);
    struct expression expression = begin(message, "bitwise");
    number(message, NFTA_BITWISE_SREG, NFT_REG_1);
    number(message, NFTA_BITWISE_DREG, NFT_REG_1);
    number(message, NFTA_BITWISE_LEN, 1);
    bytes(message, NFTA_BITWISE_MASK, &mask, 1);
    bytes(message, NFTA_BITWISE_XOR, &none, 1);
    end(message, expression);
    compare(message, NFT_CMP_NEQ, &opening, 1);
}

static void if_reply(struct nl_msg *message) {
    const uint8_t reply = 1;  // IP_CT_DIR_REPLY
    struct expression expression = begin(message, "ct");
    number(message, NFTA_CT_DREG, NFT_REG_1);
    number(message, NFTA_CT_KEY, NFT_CT_DIRECTION);
    end(message, expression);
    compare(message, NFT_CMP_EQ, &reply, 1);
}

static void if_port(struct nl_msg *message, struct clinux_ports ports) {
    uint16_t first = htons(ports.first), last = htons(ports.last);
    load_transport(message, 2, 2);
    compare(message, NFT_CMP_GTE, &first, 2);
    compare(message, NFT_CMP_LTE, &last, 2);
}

static void accept_it(struct nl_msg *message) {
    struct expression expression = begin(message, "immediate");
    number(message, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    struct nlattr *data = nla_nest_start(message, NFTA_IMMEDIATE_DATA);
    struct nlattr *verdict = nla_nest_start(message, NFTA_DATA_VERDICT);
    number(message, NFTA_VERDICT_CODE, NF_ACCEPT);
    nla_nest_end(message, verdict);
    nla_nest_end(message, data);
    end(message, expression);
}

static void reject_it(struct nl_msg *message, uint32_t type, uint8_t code) {
    struct expression expression = begin(message, "reject");
    number(message, NFTA_REJECT_TYPE, type);
    nla_put_u8(message, NFTA_REJECT_ICMP_CODE, code);
    end(message, expression);
}

// A rule's message with its list of expressions open.
static struct nl_msg *rule(struct nlattr **list) {
    struct nl_msg *message = request(NFT_MSG_NEWRULE);
    if (!message) return 0;
    nlmsg_hdr(message)->nlmsg_flags |= NLM_F_APPEND;
    nla_put_string(message, NFTA_RULE_TABLE, TABLE);
    nla_put_string(message, NFTA_RULE_CHAIN, CHAIN);
    *list = nla_nest_start(message, NFTA_RULE_EXPRESSIONS);
    return message;
}

// What the test let through is accepted.
#define ACCEPT(batch, ...)                             \
    do {                                               \
        struct nlattr *list;                           \
        struct nl_msg *message = rule(&list);          \
        if (message) {                                 \
            __VA_ARGS__;                               \
            accept_it(message);                        \
            nla_nest_end(message, list);               \
        }                                              \
        append(batch, message);                        \
    } while (0)

static void add_chain(struct batch *batch) {
    struct nl_msg *table = request(NFT_MSG_NEWTABLE);
    if (table) nla_put_string(table, NFTA_TABLE_NAME, TABLE);
    append(batch, table);
    struct nl_msg *chain = request(NFT_MSG_NEWCHAIN);
    if (chain) {
        nla_put_string(chain, NFTA_CHAIN_TABLE, TABLE);
        nla_put_string(chain, NFTA_CHAIN_NAME, CHAIN);
        struct nlattr *hook = nla_nest_start(chain, NFTA_CHAIN_HOOK);
        number(chain, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
        number(chain, NFTA_HOOK_PRIORITY, 0);
        nla_nest_end(chain, hook);
        number(chain, NFTA_CHAIN_POLICY, NF_ACCEPT);
        nla_put_string(chain, NFTA_CHAIN_TYPE, "filter");
    }
    append(batch, chain);
}

static void add_rules(struct batch *batch, const struct clinux_ports *ports, int count) {
    // Errors of the network and neighbour discovery: no data of a program's own.
    ACCEPT(batch, if_protocol(message, IPPROTO_ICMP));
    ACCEPT(batch, if_protocol(message, IPPROTO_ICMPV6));
    ACCEPT(batch, if_protocol(message, IPPROTO_TCP); if_not_opening(message));
    // A server answers to whatever port it was asked from.
    ACCEPT(batch, if_protocol(message, IPPROTO_UDP); if_reply(message));
    for (int i = 0; i < count; i++) {
        ACCEPT(batch, if_protocol(message, IPPROTO_TCP); if_port(message, ports[i]));
        ACCEPT(batch, if_protocol(message, IPPROTO_UDP); if_port(message, ports[i]));
    }
    struct nlattr *list;
    struct nl_msg *reset = rule(&list);
    if (reset) {
        if_protocol(reset, IPPROTO_TCP);
        reject_it(reset, NFT_REJECT_TCP_RST, 0);
        nla_nest_end(reset, list);
    }
    append(batch, reset);
    struct nl_msg *prohibit = rule(&list);
    if (prohibit) {
        reject_it(prohibit, NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
        nla_nest_end(prohibit, list);
    }
    append(batch, prohibit);
}

// Every message but the two that hold the batch together is answered, with 0 or what is wrong with it.
static int await_answers(int fd, int expected) {
    char answer[65536];
    while (expected > 0) {
        ssize_t n = recv(fd, answer, sizeof answer, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        for (struct nlmsghdr *header = (struct nlmsghdr *)answer; NLMSG_OK(header, n); header = NLMSG_NEXT(header, n)) {
            if (header->nlmsg_type != NLMSG_ERROR) continue;
            int code = -((struct nlmsgerr *)NLMSG_DATA(header))->error;
            if (code) return code;
            expected--;
        }
    }
    return 0;
}

static int send_batch(const struct batch *batch) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd < 0) return errno;
    // The kernel takes a batch only as one message, and its answers come while we wait for the first.
    int room = (int)batch->length * 2 + 65536;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    int one = 1;
    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    int code = 0;
    if (sendto(fd, batch->bytes, batch->length, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0) code = errno;
    if (code == 0) code = await_answers(fd, (int)batch->sequence - 2);
    close(fd);
    return code;
}

int clinux_wall_ports(const struct clinux_ports *ports, int count, struct clinux_spawn_failure *failure) {
    struct batch batch = {0};
    append(&batch, message(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
    add_chain(&batch);
    add_rules(&batch, ports, count);
    append(&batch, message(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
    int code = batch.broken ? ENOMEM : send_batch(&batch);
    free(batch.bytes);
    return code ? clinux_network_fail(failure, "wall around ports (nf_tables)", code) : 0;
}
