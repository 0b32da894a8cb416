/* Random lives of a pool, played against a naive model: borrowers that take, wait, time out, give back, lose their
 * connection or come too late; connects that succeed and fail; resizing, refreshing, dismissing, closing, and a clock
 * that leaps. After every step the pool must be sound (pool_sound.h) and stand where the model stands. At the end of a
 * life the faults stop: now everybody who waits must be served, in order, in a bounded number of rounds, and after a
 * close nothing may be left.
 *
 *   LUPHANT_POOL_RUNS=n    so many lives instead of 10,000
 *   LUPHANT_POOL_SEED=n    only this one (a failure names it), every step told on stderr
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pool_sound.h"

enum { RUNS = 10000, STEPS = 250, MOST_SLOTS = 24, MOST_TICKETS = 64 };

static lph_pool p;

/* ---- the model: the same rules over plain arrays, every count made again each time ----------------------- */

typedef enum ticket_state { FREE, QUEUED, SERVED, DISMISSED } ticket_state;

static struct model {
  lph_pool_options options;
  double now, resume_at, proven_at;
  bool closing, failing, proven; /* failing: the last connect that ended failed */
  int most;                      /* total may not exceed it */
  struct {
    lph_slot_state state;
    bool leaving, old; /* old: from before a refresh */
    bool promised;     /* lent to a ticket that has not been left */
    uint64_t uses;
    double rested, seen;
  } slot[MOST_SLOTS + 1];
  int queue[MOST_TICKETS], waiting;
  struct {
    ticket_state state;
    int slot;
  } ticket[MOST_TICKETS + 1];
} m;

static uint64_t run_seed, dice;
static int step;
static bool tells;

static int roll(int limit) {
  dice ^= dice << 13;
  dice ^= dice >> 7;
  dice ^= dice << 17;
  return (int)((dice >> 20) % (uint64_t)limit);
}

static void require(bool holds, const char *what) {
  if (holds) return;
  fail_msg("step %d: %s\n  again: LUPHANT_POOL_SEED=%" PRIu64 " test_pool_property", step, what, run_seed);
}

static void tell(const char *what, int number, int answer) {
  if (tells) fprintf(stderr, "%4d %10.3f %-10s %d -> %d\n", step, m.now, what, number, answer);
}

static int count_in(lph_slot_state state) {
  int n = 0;
  for (int i = 1; i <= MOST_SLOTS; i++) n += m.slot[i].state == state;
  return n;
}

static int total(void) { return MOST_SLOTS - count_in(LPH_SLOT_EMPTY); }

static int staying(void) {
  int n = total();
  for (int i = 1; i <= MOST_SLOTS; i++) n -= m.slot[i].leaving;
  return n;
}

/* The lifetime is drawn by the pool, so it is read from there. */
static bool is_over(int slot) {
  double expires = p.slots[slot - 1]->expires;
  return m.closing || m.slot[slot].old || (expires > 0 && m.now >= expires) ||
         (m.options.max_uses > 0 && m.slot[slot].uses >= m.options.max_uses) ||
         staying() + m.slot[slot].leaving > m.options.max;
}

/* The idle slot that is first (1) or last (-1) in the order of use; those rested at the same time are told apart by
 * the pool only, so any of them is right. */
static bool is_extreme(int slot, int direction) {
  for (int i = 1; i <= MOST_SLOTS; i++)
    if (m.slot[i].state == LPH_SLOT_IDLE && (m.slot[slot].rested - m.slot[i].rested) * direction > 0)
      return false;
  return m.slot[slot].state == LPH_SLOT_IDLE;
}

/* Taken from a waiter who had not come for it yet: his ticket is worth nothing any more. */
static void break_promise(int slot) {
  for (int i = 1; i <= MOST_TICKETS && m.slot[slot].promised; i++) {
    if (m.ticket[i].state != SERVED || m.ticket[i].slot != slot) continue;
    m.ticket[i].state = DISMISSED;
    m.ticket[i].slot = 0;
  }
  m.slot[slot].promised = false;
}

static void move(int slot, lph_slot_state state) {
  break_promise(slot);
  m.slot[slot].state = state;
  if (state != LPH_SLOT_TENDED) m.slot[slot].leaving = false;
}

static void send_off(int slot) {
  move(slot, LPH_SLOT_TENDED);
  m.slot[slot].leaving = true;
}

static void unqueue(int ticket) {
  int i = 0;
  while (m.queue[i] != ticket) i++;
  memmove(&m.queue[i], &m.queue[i + 1], sizeof m.queue[0] * (size_t)(m.waiting - i - 1));
  m.waiting--;
}

/* What the pool has answered for a connection that came free: it goes when it is over, else to the first in line. */
static void expect_served(int slot, int answer) {
  if (is_over(slot)) {
    require(answer == LPH_POOL_RETIRE, "a connection that is over was kept");
    send_off(slot);
  } else if (m.waiting == 0) {
    require(answer == LPH_POOL_NONE, "nobody waited, yet somebody was served");
    move(slot, LPH_SLOT_IDLE);
  } else {
    int first = m.queue[0];
    require(answer == first, "not the first in line was served");
    unqueue(first);
    move(slot, LPH_SLOT_USED);
    m.slot[slot].uses++;
    m.slot[slot].promised = true;
    m.ticket[first].state = SERVED;
    m.ticket[first].slot = slot;
  }
}

static bool may_grow(void) {
  int connecting = count_in(LPH_SLOT_CONNECTING), quarter = m.options.max / 4;
  if (m.closing || total() >= m.options.max || m.now < m.resume_at) return false;
  bool sure = m.proven && m.now - m.proven_at < 1 && !m.failing;
  if (connecting >= (!sure || quarter < 1 ? 1 : quarter)) return false;
  return m.waiting > connecting || staying() < m.options.min;
}

/* ---- finding somebody to act: 0 when there is nobody ------------------------------------------------------- */

static int some_slot(lph_slot_state state) {
  int n = count_in(state);
  if (n == 0) return 0;
  int wanted = roll(n), slot = 0;
  do slot += 1;
  while (m.slot[slot].state != state || wanted-- > 0);
  return slot;
}

static int some_lent_slot(void) {
  int slot = some_slot(LPH_SLOT_USED);
  return slot > 0 && !m.slot[slot].promised ? slot : 0;
}

/* Also one that somebody has yet to come for: he was found dead, or the pool is closed under him. */
static int some_used_slot(void) { return roll(4) > 0 ? some_lent_slot() : some_slot(LPH_SLOT_USED); }

static int some_ticket(ticket_state state) {
  for (int i = 0, at = roll(MOST_TICKETS); i < MOST_TICKETS; i++) {
    int ticket = (at + i) % MOST_TICKETS + 1;
    if (m.ticket[ticket].state == state) return ticket;
  }
  return 0;
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

static void wait_in_line(void) {
  int ticket = lph_pool_enqueue(&p, m.now);
  tell("enqueue", 0, ticket);
  if (m.options.max_waiting > 0 && m.waiting >= m.options.max_waiting) {
    require(ticket == LPH_POOL_FULL, "the queue took more than max_waiting");
    return;
  }
  require(ticket > 0 && m.ticket[ticket].state == FREE, "no ticket, or one that is held");
  m.ticket[ticket].state = QUEUED;
  m.ticket[ticket].slot = 0;
  m.queue[m.waiting++] = ticket;
}

static void acquire(void) {
  if (some_ticket(FREE) == 0) return;
  lph_pool_due due;
  int slot = lph_pool_take(&p, m.now, &due);
  tell("take", (int)due, slot);
  if (m.waiting > 0 || count_in(LPH_SLOT_IDLE) == 0) {
    require(slot == LPH_POOL_NONE, "a newcomer overtook");
    if (roll(8) > 0) wait_in_line();
    return;
  }
  require(slot > 0 && is_extreme(slot, m.options.fifo ? 1 : -1), "not the idle connection whose turn it was");
  if (is_over(slot)) {
    require(due == LPH_DUE_RETIRE, "a connection that is over was lent");
    send_off(slot);
    return;
  }
  bool check = m.options.check_after > 0 && m.now - m.slot[slot].seen > m.options.check_after;
  require(due == (check ? LPH_DUE_CHECK : LPH_DUE_NOTHING), "a check too many or too few");
  move(slot, LPH_SLOT_USED);
  m.slot[slot].uses++;
}

static void give_slot(int slot) {
  if (m.slot[slot].state == LPH_SLOT_USED) m.slot[slot].rested = m.now;
  m.slot[slot].seen = m.now;
  int answer = lph_pool_give(&p, slot, m.now);
  tell("give", slot, answer);
  expect_served(slot, answer);
}

static void drop_slot(int slot) {
  lph_pool_drop(&p, slot);
  tell("drop", slot, 0);
  move(slot, LPH_SLOT_EMPTY);
}

static int leave(int ticket) {
  int slot = lph_pool_leave(&p, ticket, m.now);
  tell("leave", ticket, slot);
  require(slot == m.ticket[ticket].slot, "left with another slot than served with");
  if (m.ticket[ticket].state == QUEUED) unqueue(ticket);
  if (slot > 0) m.slot[slot].promised = false;
  m.ticket[ticket].state = FREE;
  m.ticket[ticket].slot = 0;
  return slot;
}

static void wake(void) {
  int ticket = some_ticket(SERVED);
  if (ticket > 0) leave(ticket);
}

static void time_out(void) {
  int ticket = some_ticket((ticket_state)(QUEUED + roll(3)));
  if (ticket == 0) return;
  int slot = leave(ticket); /* served at the last moment: it goes on to the next */
  if (slot > 0) give_slot(slot);
}

static void give(void) {
  int slot = some_lent_slot();
  if (slot > 0) give_slot(slot);
}

static void tend(void) {
  int slot = roll(4) > 0 ? some_used_slot() : some_slot(LPH_SLOT_IDLE);
  if (slot == 0) return;
  if (m.slot[slot].state == LPH_SLOT_USED) m.slot[slot].rested = m.now;
  lph_pool_tend(&p, slot, m.now);
  tell("tend", slot, 0);
  move(slot, LPH_SLOT_TENDED);
}

static void end_tending(void) {
  int slot = some_slot(LPH_SLOT_TENDED);
  if (slot == 0) return;
  if (m.slot[slot].leaving ? roll(10) > 0 : roll(10) == 0)
    drop_slot(slot);
  else
    give_slot(slot);
}

static void die(void) {
  int slot = some_used_slot();
  if (slot > 0) drop_slot(slot);
}

static void be_born(int slot) {
  m.failing = false;
  m.proven = true;
  m.proven_at = m.now;
  m.resume_at = 0;
  m.slot[slot].uses = 0;
  m.slot[slot].rested = m.slot[slot].seen = m.now;
  int answer = lph_pool_born(&p, slot, m.now);
  tell("born", slot, answer);
  double life = p.slots[slot - 1]->expires - m.now, longest = m.options.max_lifetime;
  require(longest > 0 ? life <= longest + 1e-6 && life >= longest * (1 - m.options.jitter) - 1e-6
                      : p.slots[slot - 1]->expires == 0,
          "a lifetime out of range");
  expect_served(slot, answer);
}

static int failures; /* per cent of all connects in this life */

static void end_connect(void) {
  int slot = some_slot(LPH_SLOT_CONNECTING);
  if (slot == 0) return;
  if (roll(100) >= failures) {
    be_born(slot);
    return;
  }
  lph_pool_stillborn(&p, slot, m.now);
  tell("stillborn", slot, 0);
  move(slot, LPH_SLOT_EMPTY);
  m.failing = true;
  m.resume_at = p.resume_at;
  require(m.resume_at >= m.now + 0.05 - 1e-6 && m.resume_at <= m.now + 5 + 1e-6, "a pause out of range");
}

static void expect_grown(int slot) {
  require((slot > 0) == may_grow(), slot > 0 ? "it grew without need or leave" : "it did not grow");
  if (slot == 0) return;
  require(m.slot[slot].state == LPH_SLOT_EMPTY, "a slot in use was to be connected");
  move(slot, LPH_SLOT_CONNECTING);
  m.slot[slot].old = false;
}

static void grow(void) {
  int slot = lph_pool_grow(&p, m.now);
  tell("grow", 0, slot);
  expect_grown(slot);
}

static lph_chore chore_of(int slot) {
  bool times_out = m.options.idle_timeout > 0 && staying() > m.options.min &&
                   m.now >= m.slot[slot].rested + m.options.idle_timeout;
  if (is_over(slot) || times_out) return LPH_CHORE_CLOSE;
  bool ping = m.options.keepalive > 0 && m.now >= m.slot[slot].seen + m.options.keepalive;
  return ping ? LPH_CHORE_PING : LPH_CHORE_NONE;
}

/* chore_at and chore must agree, always: otherwise a caller sleeps too long, or spins. */
static lph_chore do_chore(int *slot) {
  double at = lph_pool_chore_at(&p, m.now);
  lph_chore chore = lph_pool_chore(&p, m.now, slot);
  tell("chore", *slot, (int)chore);
  require(chore == LPH_CHORE_NONE ? at == 0 || at > m.now : at > 0 && at <= m.now,
          "chore_at and chore do not agree");
  if (chore == LPH_CHORE_NONE || chore == LPH_CHORE_CONNECT) {
    for (int i = 1; i <= MOST_SLOTS; i++)
      require(m.slot[i].state != LPH_SLOT_IDLE || chore_of(i) == LPH_CHORE_NONE, "a chore was forgotten");
    expect_grown(chore == LPH_CHORE_CONNECT ? *slot : 0);
    return chore;
  }
  require(m.slot[*slot].state == LPH_SLOT_IDLE && chore_of(*slot) == chore, "the wrong chore");
  if (chore == LPH_CHORE_CLOSE)
    send_off(*slot);
  else
    move(*slot, LPH_SLOT_TENDED);
  return chore;
}

static void some_chores(void) {
  int slot;
  for (int n = 1 + roll(4); n > 0 && do_chore(&slot) != LPH_CHORE_NONE;) n--;
}

static void touch(void) {
  int slot = some_slot(LPH_SLOT_IDLE);
  if (slot == 0) return;
  lph_pool_touch(&p, slot, m.now);
  m.slot[slot].seen = m.now;
}

/* Often to the very moment of the next chore. When none is due now, none may be until then. */
static void pass_time(void) {
  double leaps[] = {0.001, 0.2, 3, 40}, later = m.now + leaps[roll(4)] * (1 + roll(1000)) / 1000;
  double at = lph_pool_chore_at(&p, m.now);
  int slot = 0;
  if (at > 0 && roll(2) == 0) later = at > m.now ? at : m.now;
  if (at == 0 || at > m.now) {
    double until = at == 0 || later < at ? later : m.now + (at - m.now) * 0.999;
    require(lph_pool_chore(&p, until, &slot) == LPH_CHORE_NONE, "a chore was due before chore_at");
  }
  m.now = later;
  tell("time", 0, 0);
}

static lph_pool_options some_options(void) {
  static const double lives[] = {0, 0, 5, 50}, jitters[] = {0, 0.2, 1};
  lph_pool_options o = {.max = 1 + roll(roll(4) > 0 ? 6 : MOST_SLOTS), .fifo = roll(2) == 0};
  if (roll(2) == 0) o.min = roll(o.max + 2);
  if (roll(3) == 0) o.max_waiting = 1 + roll(6);
  if (roll(2) == 0) o.idle_timeout = 1 + roll(20);
  if (roll(2) == 0) o.check_after = 0.5;
  if (roll(3) == 0) o.keepalive = 1 + roll(5);
  if (roll(3) == 0) o.max_uses = 1 + (uint64_t)roll(4);
  o.max_lifetime = lives[roll(4)];
  o.jitter = jitters[roll(3)];
  return o;
}

static void resize(void) {
  lph_pool_options o = some_options();
  require(lph_pool_resize(&p, &o) == LPH_OK, "no memory?");
  tell("resize", o.max, 0);
  m.options = o;
}

static void refresh(void) {
  lph_pool_refresh(&p);
  tell("refresh", 0, 0);
  for (int i = 1; i <= MOST_SLOTS; i++) m.slot[i].old = m.slot[i].state != LPH_SLOT_EMPTY;
}

static void dismiss(void) {
  int ticket = lph_pool_dismiss(&p);
  tell("dismiss", 0, ticket);
  require(ticket == (m.waiting > 0 ? m.queue[0] : LPH_POOL_NONE), "not the first was dismissed");
  if (ticket == LPH_POOL_NONE) return;
  unqueue(ticket);
  m.ticket[ticket].state = DISMISSED;
}

static void close_pool(void) {
  p.closing = m.closing = true;
  tell("close", 0, 0);
}

static const struct {
  void (*act)(void);
  int weight;
} steps[] = {
  {acquire, 60},     {wake, 30}, {time_out, 8}, {give, 30},        {tend, 8},
  {end_tending, 25}, {die, 3},   {grow, 20},    {end_connect, 25}, {some_chores, 20},
  {pass_time, 20},   {touch, 3}, {resize, 2},   {refresh, 1},      {dismiss, 2},
};

/* ---- a whole life ---------------------------------------------------------------------------------------- */

/* The pool stands where the model stands. */
static void compare(void) {
  const char *wrong = pool_unsound(&p, m.most);
  if (wrong != NULL) require(false, wrong);
  for (int i = 0; i < p.slot_room; i++) {
    require(p.slots[i]->state == m.slot[i + 1].state, "a slot is in another state than it should be");
    require(p.slots[i]->leaving == m.slot[i + 1].leaving, "a slot leaves that should not, or does not");
  }
  require(p.waiting == m.waiting, "another number waits than should");
  for (int i = 1; i <= p.ticket_room; i++)
    require(lph_pool_served(&p, i) == m.ticket[i].slot, "a ticket has another slot than it should");
  m.most = total() > m.options.max ? total() : m.options.max;
}

/* Everybody does what is right, at once: one round. */
static void behave(void) {
  int ticket, slot;
  while ((ticket = some_ticket(SERVED)) > 0) leave(ticket);
  while ((ticket = some_ticket(DISMISSED)) > 0) leave(ticket);
  for (int i = 1; i <= MOST_SLOTS; i++) {
    lph_slot_state state = m.slot[i].state;
    if (state == LPH_SLOT_CONNECTING)
      be_born(i);
    else if (m.slot[i].leaving)
      drop_slot(i);
    else if ((state == LPH_SLOT_USED && !m.slot[i].promised) || state == LPH_SLOT_TENDED)
      give_slot(i);
    compare();
  }
  for (int n = 0; do_chore(&slot) != LPH_CHORE_NONE; n++) {
    require(n < 3 * MOST_SLOTS, "chores without end");
    compare();
  }
}

/* The faults are over: each round serves somebody, or the clock leaps over a pause that a failure has left, or one more
 * connection is made for one that had to go. */
static void expect_all_to_be_served(void) {
  int bound = 3 * m.waiting + MOST_SLOTS + 4;
  for (int round = 0; m.waiting > 0; round++) {
    require(round < bound, "somebody starves");
    behave();
    double at = lph_pool_chore_at(&p, m.now);
    if (m.waiting > 0 && total() == 0) {
      require(at > m.now, "nobody will ever be served");
      m.now = at;
    }
  }
}

static void expect_nothing_left(void) {
  while (m.waiting > 0) dismiss();
  close_pool();
  for (int round = 0; total() > 0 || some_ticket(SERVED) > 0; round++) {
    require(round < 5, "a closed pool does not become empty");
    behave();
  }
  require(p.count.connected == p.count.closed, "a connection was lost");
  require(lph_pool_chore_at(&p, m.now) == 0, "a closed pool has chores");
}

static void (*next_act(const int *weights, int sum))(void) {
  int at = roll(sum);
  size_t i = 0;
  while (at >= weights[i]) at -= weights[i++];
  return steps[i].act;
}

static void live(uint64_t seed) {
  static const int shares[] = {0, 10, 50, 100};
  run_seed = seed;
  dice = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
  memset(&m, 0, sizeof m);
  m.now = 1000;
  m.options = some_options();
  m.most = m.options.max;
  failures = shares[roll(4)];
  int weights[lph_countof(steps)], sum = 0; /* no two lives have the same habits */
  for (size_t i = 0; i < lph_countof(steps); i++) sum += weights[i] = steps[i].weight * (1 + roll(8)) / 4 + 1;
  int last = roll(12) == 0 ? roll(STEPS)
                           : STEPS; /* of an open pool; when it is closed, life goes on for a while */
  require(lph_pool_init(&p, &m.options, seed) == LPH_OK, "no memory?");
  for (step = 0; step < STEPS; step++) {
    if (step == last) close_pool();
    next_act(weights, sum)();
    compare();
  }
  if (!m.closing) expect_all_to_be_served();
  expect_nothing_left();
  lph_pool_clear(&p);
}

static void a_pool_keeps_its_promises_whatever_happens(void **state) {
  (void)state;
  long blocks = lph_mem_live();
  const char *seed = getenv("LUPHANT_POOL_SEED"), *runs = getenv("LUPHANT_POOL_RUNS");
  tells = seed != NULL;
  if (seed != NULL) {
    live(strtoull(seed, NULL, 10));
  } else {
    uint64_t n = runs != NULL ? strtoull(runs, NULL, 10) : RUNS;
    for (uint64_t i = 0; i < n; i++) live(i);
  }
  assert_int_equal(lph_mem_live(), blocks);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_pool_keeps_its_promises_whatever_happens)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
