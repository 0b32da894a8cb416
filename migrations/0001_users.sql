-- Customers of the shop, and the two types they need: an e-mail address and a postal address.

-- migrate:up
create domain email_address as text
  constraint email_address_length check (char_length(value) <= 254)
  constraint email_address_format check (value ~ '^[^@[:space:]]+@[^@[:space:]]+\.[^@[:space:].]{2,}$');
comment on domain email_address is
  'One address as people type it. Only its shape is checked: whether mail arrives is known after sending some.';

create type postal_address as (
  street   text,
  city     text,
  postcode text,
  country  char(2)
);
comment on type postal_address is 'Where a parcel goes. The country is an ISO 3166 code.';

create table users (
  id         bigint        generated always as identity,
  name       text          not null,
  email      email_address not null,
  address    postal_address,
  newsletter boolean       not null default false,
  joined_at  timestamptz   not null default now(),
  constraint users_pkey primary key (id),
  constraint users_name_not_blank check (btrim(name) <> ''),
  constraint users_name_length check (char_length(name) <= 60),
  constraint users_address_country check ((address).country ~ '^[A-Z]{2}$')
);

-- Ada@example.org and ada@example.org are one customer; the spelling they chose is kept.
create unique index users_email_key on users (lower(email));

comment on table users is 'Customers.';
comment on column users.name is 'As the customer writes it: any script, one field, no first and last name.';
comment on column users.email is 'Unique without regard to case (index users_email_key).';
comment on column users.address is 'The present address; an order keeps its own copy.';

-- migrate:verify
-- The name of this index is what programs look for when a registration is refused.
select exists (
  select from pg_index
   where indexrelid = 'users_email_key'::regclass and indisunique and indisvalid
);

-- migrate:down
drop table users;
drop type postal_address;
drop domain email_address;
