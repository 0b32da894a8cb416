-- Orders and their lines.
-- migrate:allow second-table-under-lock: the shop has no customers yet when this runs

-- migrate:up
create type order_status as enum ('placed', 'paid', 'shipped', 'cancelled');

create table orders (
  id        bigint         generated always as identity,
  number    text           not null,
  user_id   bigint         not null,
  status    order_status   not null default 'placed',
  ship_to   postal_address not null,
  total     numeric(12, 2) not null default 0,
  placed_at timestamptz    not null default now(),
  constraint orders_pkey primary key (id),
  constraint orders_number_key unique (number),
  constraint orders_number_format check (number ~ '^[A-Z][0-9]{4,}$'),
  constraint orders_user_id_fkey foreign key (user_id) references users (id),
  constraint orders_total_not_negative check (total >= 0)
);

create table order_lines (
  order_id   bigint         not null,
  line       smallint       not null,
  product_id bigint         not null,
  quantity   integer        not null,
  unit_price numeric(10, 2) not null,
  amount     numeric(12, 2) generated always as (quantity * unit_price) stored,
  constraint order_lines_pkey primary key (order_id, line),
  constraint order_lines_order_id_fkey foreign key (order_id) references orders (id) on delete cascade,
  constraint order_lines_product_id_fkey foreign key (product_id) references products (id),
  constraint order_lines_product_once unique (order_id, product_id),
  constraint order_lines_quantity_positive check (quantity > 0),
  constraint order_lines_unit_price_positive check (unit_price > 0)
);

create index orders_user_id_idx on orders (user_id);
create index orders_placed_at_idx on orders (placed_at);
create index order_lines_product_id_idx on order_lines (product_id);

comment on table orders is 'One row per order that was accepted. An order that fails leaves nothing here.';
comment on column orders.number is 'The number the customer sees.';
comment on column orders.ship_to is 'The address on the day of the order.';
comment on column orders.total is 'Sum of the lines; checked when the transaction commits (orders_total_matches).';
comment on table order_lines is 'What was ordered, at the price of that day.';

-- Lines are written one by one and the total last, so the comparison has to wait for the commit.
create function orders_check_total() returns trigger language plpgsql as $$
declare
  stated   numeric;
  computed numeric;
begin
  select o.total, (select coalesce(sum(l.amount), 0) from order_lines l where l.order_id = o.id)
    into stated, computed
    from orders o
   where o.id = new.id;
  if stated <> computed then
    raise exception 'order %: total is %, its lines sum up to %', new.number, stated, computed
      using errcode = 'check_violation', constraint = 'orders_total_matches',
            schema = tg_table_schema, table = tg_table_name;
  end if;
  return null;
end
$$;

create constraint trigger orders_total_matches
  after insert or update of total on orders
  deferrable initially deferred
  for each row execute function orders_check_total();

-- migrate:verify
select count(*) = 4
  from pg_enum
 where enumtypid = 'order_status'::regtype;

-- migrate:down
drop table order_lines;
drop table orders;
drop function orders_check_total();
drop type order_status;
