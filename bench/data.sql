-- What the questions are asked about. Every value follows from its row number, so checksums hold on any machine.
create schema luphant_bench;

create table luphant_bench.account (
  id int4 primary key,
  balance int4 not null,
  name text not null,
  email text not null
);
insert into luphant_bench.account
  select i, i * 7 % 100003, 'Person number ' || i, 'person' || i || '@example.com' from generate_series(1, 10000) i;

create table luphant_bench.item (
  id int4 primary key,
  big int8 not null,
  title text not null, -- 53 bytes: longer than what Lua 5.4 interns
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

create table luphant_bench.series (id int4 primary key, samples int4[] not null);
insert into luphant_bench.series
  select i, array(select (i * 31 + k * 7919) % 100000 from generate_series(1, 100) k) from generate_series(1, 1000) i;

create unlogged table luphant_bench.event (id int4 not null, name text not null, amount float8 not null);

analyze luphant_bench.account, luphant_bench.item, luphant_bench.series;
