-- Sales: for a while everything costs less. Two sales never run at the same time.

-- migrate:up
create table sales (
  id      bigint        generated always as identity,
  name    text          not null,
  period  tstzrange     not null,
  percent numeric(4, 1) not null,
  constraint sales_pkey primary key (id),
  constraint sales_name_key unique (name),
  constraint sales_percent_sane check (percent > 0 and percent <= 80),
  constraint sales_period_bounded
    check (not isempty(period) and not lower_inf(period) and not upper_inf(period)),
  constraint sales_no_overlap exclude using gist (period with &&)
);

comment on table sales is 'Sales and their discounts.';
comment on column sales.period is 'From (included) until (excluded).';
comment on column sales.percent is 'What is taken off the price of every product during the period.';

create function sale_price(price numeric, at timestamptz) returns numeric
  language sql stable as $$
  select round(price * (100 - coalesce((select s.percent from sales s where s.period @> at), 0)) / 100, 2)
$$;
comment on function sale_price is 'The price at a moment in time, rounded to the cent.';

-- migrate:verify
select sale_price(10, now()) = 10.00;

-- migrate:down
drop function sale_price(numeric, timestamptz);
drop table sales;
