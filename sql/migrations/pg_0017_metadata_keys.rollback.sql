-- Removes hot metadata keys, with the indexes that were made for them.
do $$ begin perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true); end $$;
do $$
declare
    v_name text;
begin
    for v_name in select c.relname from pg_class c
                  where c.relnamespace = 'kompanion'::regnamespace and c.relkind = 'i' and c.relname ~ '^memory_items_metadata_(text|number)_' loop
        execute format('drop index kompanion.%I', v_name);
    end loop;
end
$$;
update kompanion.settings set value = '{}' where name = 'indexed_metadata';
drop function kompanion.index_metadata_key(text, text, boolean);
drop function kompanion._being_built(regclass);
drop function kompanion._metadata_index(text, text);
drop function kompanion._indexed_ranges(jsonb);
drop function kompanion.metadata_text(jsonb, text[]);
drop function kompanion.metadata_number(jsonb, text[]);
