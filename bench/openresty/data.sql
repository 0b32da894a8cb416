-- What the handlers ask for. Every value follows from its row number, so bodies can be foretold.
create schema luphant_bench;

create table luphant_bench.person (
  id int4 primary key,
  name text not null,
  email text not null,
  balance int8 not null,
  active bool not null
);
insert into luphant_bench.person
  select i, 'Person number ' || i, 'person' || i || '@example.com', i * 7919::int8 % 1000003, i % 3 = 0
  from generate_series(1, 100000) i;

create table luphant_bench.item (
  id int4 primary key,
  big int8 not null,
  title text not null,
  code varchar(12) not null,
  active bool not null,
  ratio float8 not null,
  at timestamptz not null,
  price numeric(12, 2) not null
);
insert into luphant_bench.item
  select i, 3000000000 + i * 1000003::int8, rpad('Title of item ' || i || ' ', 53, 'abcdefghij'), 'C-' || 10000 + i,
    i % 3 = 0, (i * 7919 % 100000) / 1000.0, timestamptz '2024-01-01 00:00:00+00' + i * interval '61.007 seconds',
    (i * 104729 % 1000000) / 100.0
  from generate_series(1, 1000) i;

analyze luphant_bench.person, luphant_bench.item;
