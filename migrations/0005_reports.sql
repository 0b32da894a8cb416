-- Questions that are asked every morning.

-- migrate:up
create view monthly_revenue as
  select date_trunc('month', o.placed_at at time zone 'UTC')::date as month,
         p.category,
         count(distinct o.id) as orders,
         sum(l.quantity)      as pieces,
         sum(l.amount)        as revenue
    from orders o
    join order_lines l on l.order_id = o.id
    join products p on p.id = l.product_id
   where o.status <> 'cancelled'
   group by 1, 2;
comment on view monthly_revenue is 'Revenue per calendar month (UTC) and category; cancelled orders do not count.';

create view low_stock as
  select p.sku, p.name, p.category, p.stock,
         coalesce(sum(l.quantity) filter (where o.status <> 'cancelled'), 0) as sold
    from products p
    left join order_lines l on l.product_id = p.id
    left join orders o on o.id = l.order_id
   group by p.id
  having p.stock < 5;
comment on view low_stock is 'Products with fewer than five pieces on the shelf, and how many were sold.';

-- migrate:verify
select count(*) = 0 from monthly_revenue where revenue is null;

-- migrate:down
drop view low_stock;
drop view monthly_revenue;
