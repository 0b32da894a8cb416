-- What the shop sells.

-- migrate:up
create type product_category as enum ('book', 'coffee', 'kitchen', 'stationery', 'toy');
comment on type product_category is 'The order of the labels is the order of the shelves in the shop.';

create table products (
  id         bigint           generated always as identity,
  sku        text             not null,
  name       text             not null,
  category   product_category not null,
  price      numeric(10, 2)   not null,
  stock      integer          not null default 0,
  tags       text[]           not null default '{}',
  attributes jsonb            not null default '{}',
  created_at timestamptz      not null default now(),
  constraint products_pkey primary key (id),
  constraint products_sku_key unique (sku),
  constraint products_sku_format check (sku ~ '^[A-Z]{3}-[0-9]{4}$'),
  constraint products_name_not_blank check (btrim(name) <> ''),
  constraint products_name_length check (char_length(name) <= 80),
  constraint products_price_positive check (price > 0),
  constraint products_stock_not_negative check (stock >= 0),
  constraint products_tags_without_null check (array_position(tags, null) is null),
  constraint products_attributes_object check (jsonb_typeof(attributes) = 'object')
);

create index products_tags_idx on products using gin (tags);
create index products_category_idx on products (category, name);

comment on table products is 'The catalogue, with what is on the shelf.';
comment on column products.sku is 'Stock keeping unit: three letters, a dash, four digits.';
comment on column products.price is 'What one piece costs today, in euro with tax. Lines of orders keep the price of their day.';
comment on column products.stock is 'Pieces on the shelf. Selling more than there is breaks products_stock_not_negative.';
comment on column products.attributes is 'Facts that differ from category to category: weight, pages, origin.';

-- migrate:verify
select bool_and(convalidated) from pg_constraint where conrelid = 'products'::regclass;

-- migrate:down
drop table products;
drop type product_category;
